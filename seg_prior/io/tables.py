"""Tables in text files, by commas if a name ends in .csv and by tabs if not."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from seg_prior.files import write_text


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, whole or not at all; None is an empty cell.

    Raises:
        OutputError: The disk is full, or there is no leave to write.
    """
    write_text(path, table_text(header, rows, _delimiter(path)))


def table_text(
    header: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str = "\t"
) -> str:
    """A table as a file holds it; cells that hold a delimiter or quotes are quoted."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table that this program wrote, by column."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=_delimiter(path)))


def _delimiter(path: Path) -> str:
    return "," if path.suffix == ".csv" else "\t"
