"""Tables of a folder of results: of all scans in it, whichever requests they came from.

Many processes may write into one folder, a task of an array each. So the tables are made of what
stands beside each scan, and made again until nothing has come in meanwhile: whoever is last has
seen all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seg_prior.errors import ConfigError
from seg_prior.io.formats import strip_suffix
from seg_prior.io.sidecar import is_ours, read_json
from seg_prior.io.tables import read_table, write_table
from seg_prior.output import layout
from seg_prior.output.cohort_report import COHORT_PAGE, write_cohort
from seg_prior.output.ownership import GENERATOR, REPLACED

VOLUMES, WIDE, FAILED = "volumes.tsv", "volumes_wide.tsv", "failed.tsv"
VOLUMES_HEADER = ("scan", *layout.VOLUME_COLUMNS)
UNKNOWN = "n/a"
FAILED_HEADER = ("scan", "message")
_BEGINS = {
    VOLUMES: "\t".join(VOLUMES_HEADER[:5]),  # all versions have these
    WIDE: "scan\tquality\t",
    FAILED: "\t".join(FAILED_HEADER),
    COHORT_PAGE: GENERATOR.decode(),
}
"""What a table of ours has at its beginning."""
_FOLDERS = ("", "sub-*/anat/", "sub-*/ses-*/anat/")
"""Where label maps lie in a folder of results, BIDS or not."""


class Result(NamedTuple):
    """A finished scan of a folder: its label map and what its sidecar says."""

    target: Path
    sidecar: dict[str, Any]

    def file(self, *ends: str) -> Path | None:
        """Its file whose name ends so, if it has one."""
        for name in self.sidecar["files"]:
            if name.endswith(ends) and self.target.with_name(name).is_file():
                return self.target.with_name(name)
        return None


def read_results(out: Path) -> list[Result]:
    """Every finished scan of a folder, by name."""
    found = []
    for path in _notes(out, "_dseg.json"):
        sidecar = read_json(path)
        target = path.with_name(f"{strip_suffix(path)}.nii.gz")
        if is_ours(sidecar) and REPLACED not in sidecar and target.name in sidecar.get("files", ()):
            found.append(Result(target, sidecar))
    return [result for result in found if result.target.is_file()]


def read_failures(out: Path) -> list[tuple[str, str]]:
    """(scan, message) of every scan of a folder that failed and is not finished since."""
    notes = [read_json(path) for path in _notes(out, "_failed.json")]
    return [(str(n.get("scan")), str(n.get("message"))) for n in notes if is_ours(n)]


def check_tables(out: Path) -> None:
    """Refuse a folder where files of these names are somebody else's.

    Raises:
        ConfigError: There is one.
    """
    for name, begin in _BEGINS.items():
        path = out / name
        if path.exists() and not _begins_with(path, begin):
            raise ConfigError(
                f"{path}: found a file that segment did not write, need its place for the table of "
                "all scans. Name another OUT, or rename it."
            )


def write_tables(out: Path, volumes: bool, report: bool, wide: bool) -> list[Path]:
    """`volumes.tsv` and `report.html`, if they are asked for or there, and `failed.tsv` if any did.

    A table of nothing is not begun.

    Args:
        out: The folder of results.
        volumes: Whether to begin a `volumes.tsv`.
        report: Whether to begin a `report.html`.
        wide: Whether to begin a `volumes_wide.tsv`.

    Returns:
        The files that were written.
    """
    while True:
        seen = _state(out)
        results, failures = read_results(out), read_failures(out)
        written = []
        if (volumes and results) or (out / VOLUMES).exists():
            write_table(out / VOLUMES, VOLUMES_HEADER, _volume_rows(results))
            written.append(out / VOLUMES)
        if (wide and results) or (out / WIDE).exists():
            _write_wide(out / WIDE, results)
            written.append(out / WIDE)
        if (report and (results or failures)) or (out / COHORT_PAGE).exists():
            pages = [(r.sidecar, r.file("_report.html"), _volumes_of(r)) for r in results]
            written.append(write_cohort(out, pages, failures))
        if failures:
            write_table(out / FAILED, FAILED_HEADER, failures)
            written.append(out / FAILED)
        else:
            (out / FAILED).unlink(missing_ok=True)
        if _state(out) == seen:
            return written


def _volume_rows(results: Sequence[Result]) -> Iterator[Sequence[str]]:
    """The tables of all scans below each other, the scan in front."""
    for scan, table in _tables(results):
        for row in table:
            yield [scan, *(row.get(column) or UNKNOWN for column in layout.VOLUME_COLUMNS)]


def _write_wide(path: Path, results: Sequence[Result]) -> None:
    """One row a scan: of each label what was counted, then of each what is calibrated."""
    columns: dict[str, None] = {}
    rows = []
    for scan, table in _tables(results):
        row = {"scan": scan, "quality": table[0]["quality"] if table else UNKNOWN}
        for end, column in (("mm3", "volume_mm3"), ("calibrated_mm3", "calibrated_mm3")):
            found = {f"{label['name']}_{end}": label.get(column) or UNKNOWN for label in table}
            columns |= dict.fromkeys(found)
            row |= found
        rows.append(row)
    header = ["scan", "quality", *sorted(columns, key=lambda name: "_calibrated_" in name)]
    write_table(path, header, ([row.get(name, UNKNOWN) for name in header] for row in rows))


def _tables(results: Sequence[Result]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Of each scan with volumes its name and its table, a mapping for each label."""
    for result in results:
        table = _volumes_of(result)
        if table is not None:
            yield strip_suffix(result.target).removesuffix("_dseg"), list(read_table(table))


def _volumes_of(result: Result) -> Path | None:
    return result.file("_volumes.tsv", "_desc-volumes_morph.tsv")


def _notes(out: Path, end: str) -> Iterator[Path]:
    for folder in _FOLDERS:
        yield from sorted(out.glob(f"{folder}[!.]*{end}"))


def _state(out: Path) -> set[tuple[str, int]]:
    """What changes whenever a scan of the folder is finished or fails."""
    notes = (note for end in ("_dseg.json", "_failed.json") for note in _notes(out, end))
    return {(str(note), _changed_ns(note)) for note in notes}


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _begins_with(path: Path, begin: str) -> bool:
    return path.is_file() and begin in path.read_bytes()[:4096].decode(errors="replace")
