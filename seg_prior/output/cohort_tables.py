"""Tables of a folder of results: of all scans in it, whichever requests they came from.

Many processes may write into one folder, a task of an array each. So the tables are made of what
stands beside each scan, and made again until nothing has come in meanwhile: whoever is last has
seen all others.
"""

from __future__ import annotations

import csv
import tempfile
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from operator import itemgetter
from pathlib import Path

from seg_prior.config.output import OutputOptions
from seg_prior.errors import ConfigError
from seg_prior.files import ANY_NAME, writing
from seg_prior.io.tables import Columns, row_text, write_lines, write_table
from seg_prior.output import layout
from seg_prior.output.cohort_report import COHORT_PAGE, CohortPages, parts_in
from seg_prior.output.ownership import GENERATOR
from seg_prior.output.results import UNKNOWN, Result, find_notes, read_failures, read_results

VOLUMES, WIDE, FAILED = "volumes.tsv", "volumes_wide.tsv", "failed.tsv"
TABLES = (VOLUMES, WIDE, COHORT_PAGE)
"""Of the scans that are finished."""
VOLUMES_HEADER = ("scan", *layout.VOLUME_COLUMNS)
FAILED_HEADER = ("scan", "message")
_BEGINS = {
    VOLUMES: "\t".join(VOLUMES_HEADER[:5]),  # all versions have these
    WIDE: "scan\tquality\t",
    FAILED: "\t".join(FAILED_HEADER),
    COHORT_PAGE: GENERATOR.decode(),
}
"""What a table of ours has at its beginning."""
_NAME, _COUNTED, _CALIBRATED, _QUALITY = map(
    layout.VOLUME_COLUMNS.index, ("name", "volume_mm3", "calibrated_mm3", "quality")
)
Taker = Callable[[Result, Columns], None]
"""What is shown every scan that has volumes, one after the other."""


def check_tables(out: Path) -> None:
    """Refuse a folder where files of these names are somebody else's.

    Raises:
        ConfigError: There is one.
    """
    begins = _BEGINS | {page.name: _BEGINS[COHORT_PAGE] for page in parts_in(out)}
    for name, begin in begins.items():
        path = out / name
        if path.exists() and not _begins_with(path, begin):
            raise ConfigError(
                f"{path}: found a file that segment did not write, need its place for the table of "
                "all scans. Name another OUT, or rename it."
            )


def tables_of(options: OutputOptions) -> list[str]:
    """Names of the tables that are asked for."""
    asked = {VOLUMES: options.with_volumes, WIDE: options.wide, COHORT_PAGE: options.report}
    return [name for name, is_asked in asked.items() if is_asked]


def write_tables(out: Path, options: OutputOptions) -> list[Path]:
    """Those that are asked for or there, and `failed.tsv` if any did; none of nothing is begun.

    Args:
        out: The folder of results.
        options: Say what is asked for.

    Returns:
        The files that were written.
    """
    asked = tables_of(options)
    while True:
        notes = find_notes(out)
        failures = read_failures(out, notes.failures)
        written = _write_results(out, read_results(out, notes.results), failures, asked)
        if failures:
            write_table(out / FAILED, FAILED_HEADER, failures)
            written.append(out / FAILED)
        else:
            (out / FAILED).unlink(missing_ok=True)
        if find_notes(out).state == notes.state:
            return written


def _write_results(
    out: Path,
    results: Iterator[Result],
    failures: Sequence[tuple[str, str]],
    asked: Collection[str],
) -> list[Path]:
    """All but `failed.tsv`, in one pass over the scans: each of their files is read once."""
    first = next(results, None)
    new = asked if first is not None else {COHORT_PAGE} & set(asked if failures else ())
    due = [name for name in TABLES if name in new or (out / name).exists()]
    if not due:
        return []
    pages = CohortPages(out)
    with ExitStack() as stack:
        takers: list[Taker] = []
        if WIDE in due:
            takers.append(stack.enter_context(_wide_table(out / WIDE)))
        if COHORT_PAGE in due:
            takers.append(pages.add)
        tables = _volume_tables(results if first is None else chain([first], results), takers)
        if VOLUMES in due:
            write_lines(out / VOLUMES, VOLUMES_HEADER, tables)
        else:
            deque(tables, maxlen=0)
    parts = pages.write(failures) if COHORT_PAGE in due else []
    return [*(out / name for name in due), *parts]


def _volume_tables(results: Iterable[Result], takers: Sequence[Taker]) -> Iterator[str]:
    """The lines of all scans below each other, the scan in front; others take them, too."""
    for result in results:
        table = result.volumes()
        if table is None:
            continue
        for take in takers:
            take(result, table)
        scan = row_text((result.name, ""))
        yield "".join([f"{scan}{line}\n" for line in table.lines])


@contextmanager
def _wide_table(path: Path) -> Iterator[Taker]:
    """One row a scan: of each label what was counted, then of each what is calibrated.

    Which labels there are is known after the last scan, so rows wait in a file without a name.
    """
    headers: dict[tuple[str, ...], int] = {}  # most scans share one
    numbers: list[int] = []  # of the header of each row

    def take(result: Result, table: Columns) -> None:
        numbers.append(headers.setdefault(tuple(table.cells[_NAME]), len(headers)))
        quality = table.cells[_QUALITY][0] if table.lines else UNKNOWN
        counted, calibrated = table.cells[_COUNTED], table.cells[_CALIBRATED]
        writer.writerow([result.name, quality, *counted, *calibrated])

    with (
        writing(path),
        tempfile.TemporaryFile(
            "w+", dir=path.parent, encoding="utf-8", errors=ANY_NAME, newline=""
        ) as waiting,
    ):
        writer = csv.writer(waiting, delimiter="\t", lineterminator="\n")
        yield take
        waiting.seek(0)
        all_labels = tuple(dict.fromkeys(chain.from_iterable(headers)))
        header = _wide_header(all_labels)
        if list(headers) == [all_labels]:
            write_lines(path, header, waiting)
            return
        pick = []
        for labels in headers:
            own = {name: n for n, name in enumerate(_wide_header(labels))}
            pick.append(itemgetter(*(own.get(name, -1) for name in header)))
        rows = zip(numbers, csv.reader(waiting, delimiter="\t"), strict=True)
        write_table(path, header, (pick[n]([*row, UNKNOWN]) for n, row in rows))


def _wide_header(labels: Collection[str]) -> list[str]:
    ends = ("mm3", "calibrated_mm3")
    return ["scan", "quality", *(f"{name}_{end}" for end in ends for name in labels)]


def _begins_with(path: Path, begin: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return begin in file.read(4096).decode(errors="replace")
