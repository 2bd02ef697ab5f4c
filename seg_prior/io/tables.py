"""Tables in text files, by commas if a name ends in .csv and by tabs if not."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TextIO

from seg_prior.files import ANY_NAME, atomic_write


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table row by row, whole or not at all; None is an empty cell.

    Raises:
        OutputError: The disk is full, or there is no leave to write.
    """
    with (
        atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8", errors=ANY_NAME, newline="") as file,
    ):
        _write(file, header, rows, _delimiter(path))


def table_text(
    header: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str = "\t"
) -> str:
    """A table as a file holds it; cells that hold a delimiter or quotes are quoted."""
    text = io.StringIO()
    _write(text, header, rows, delimiter)
    return text.getvalue()


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table that this program wrote, by column."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=_delimiter(path)))


def read_columns(path: Path, columns: Sequence[str], unknown: str) -> list[Sequence[str]]:
    """The cells under some columns of a table that this program wrote, row by row.

    Args:
        path: The table.
        columns: Names of two or more, in the order that is wanted.
        unknown: In place of empty cells, and of columns that an earlier version did not write.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter=_delimiter(path))
        header = next(rows, [])
        at = [header.index(name) if name in header else len(header) for name in columns]
        picked = map(itemgetter(*at), ([*row, ""] for row in rows if row))
        return [[cell or unknown for cell in cells] if "" in cells else cells for cells in picked]


def _write(
    file: TextIO, header: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str
) -> None:
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)


def _delimiter(path: Path) -> str:
    return "," if path.suffix == ".csv" else "\t"
