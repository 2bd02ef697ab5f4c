"""What stands in a folder of results: finished scans and failed ones, whoever did them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from seg_prior.errors import ConfigError
from seg_prior.io.sidecar import read_ours
from seg_prior.io.tables import Columns, read_columns
from seg_prior.output.layout import VOLUME_COLUMNS
from seg_prior.output.ownership import REPLACED

UNKNOWN = "n/a"
"""In place of cells that a scan has not."""
_TOLD = (REPLACED, "files", "source", "seconds", "quality")
"""Keys of a sidecar that tables are made of."""
_RESULT, _FAILURE = "_dseg.json", "_failed.json"


class Notes(NamedTuple):
    """What stands beside label maps, by folder and name; paths are relative to the results.

    Attributes:
        results: Sidecars.
        failures: Notes of failures.
        state: Is another whenever a scan of the folder was finished or failed.
    """

    results: list[str]
    failures: list[str]
    state: int


class Result(NamedTuple):
    """A finished scan of a folder.

    Attributes:
        out: The folder, with what separates it from what is in it.
        place: Of the files of the scan, relative to `out`, in the same way.
        name: What tables call it.
        sidecar: What that says.
    """

    out: str
    place: str
    name: str
    sidecar: dict[str, Any]

    def file(self, *ends: str) -> str | None:
        """Its file whose name ends so, relative to `out`, if it has one."""
        for name in self.sidecar["files"]:
            if name.endswith(ends) and os.path.isfile(f"{self.out}{self.place}{name}"):
                return f"{self.place}{name}"
        return None

    def volumes(self) -> Columns | None:
        """Its table of volumes, the columns `VOLUME_COLUMNS`; None if it has none.

        Raises:
            ConfigError: It cannot be read.
        """
        table = self.file("_volumes.tsv", "_desc-volumes_morph.tsv")
        if table is None:
            return None
        path = f"{self.out}{table}"
        try:
            return read_columns(path, VOLUME_COLUMNS, UNKNOWN)
        except (OSError, ValueError, IndexError) as error:
            raise ConfigError(
                f"{Path(path)}: cannot be read ({error}), need it for the table of all scans. "
                "Move it away, or segment its scan again."
            ) from error


def find_notes(out: Path) -> Notes:
    """What is there now: in the folder itself, in `sub-*/anat` and in `sub-*/ses-*/anat`."""
    here, people, state = _look(out)
    visits = [anat for one in people for anat in sorted((out / one).glob("ses-*/anat"))]
    anats = [f"{one}/anat/" for one in people]
    anats += [f"{anat.relative_to(out).as_posix()}/" for anat in visits]
    for place in anats:
        names, _, inner = _look(out / place)
        here += [f"{place}{name}" for name in names]
        state += inner
    failures = [note for note in here if note.endswith(_FAILURE)]
    return Notes([note for note in here if note.endswith(_RESULT)], failures, state)


def read_results(out: Path, sidecars: Iterable[str]) -> Iterator[Result]:
    """Every finished scan, one at a time: no memory holds a hundred thousand sidecars."""
    folder = os.path.join(out, "")
    for note in sidecars:
        sidecar = read_ours(f"{folder}{note}", _TOLD)
        begin = note.rfind("/") + 1
        place, stem = note[:begin], note[begin:].removesuffix(".json")
        is_whole = REPLACED not in sidecar and f"{stem}.nii.gz" in sidecar.get("files", ())
        if is_whole and os.path.isfile(f"{folder}{place}{stem}.nii.gz"):
            yield Result(folder, place, stem.removesuffix("_dseg"), sidecar)


def read_failures(out: Path, notes: Iterable[str]) -> list[tuple[str, str]]:
    """(scan, message) of every scan that failed and is not finished since."""
    found = filter(None, (read_ours(out / note) for note in notes))
    return [(str(note.get("scan")), str(note.get("message"))) for note in found]


def _look(folder: Path) -> tuple[list[str], list[str], int]:
    """Names of the notes in a folder and of its folders `sub-*`, and the state of the former."""
    notes: list[str] = []
    people: list[str] = []
    state = 0
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith((_RESULT, _FAILURE)):
                if not entry.name.startswith("."):
                    notes.append(entry.name)
                    state += hash((entry.path, _changed_ns(entry)))
            elif entry.name.startswith("sub-") and entry.is_dir():
                people.append(entry.name)
    return sorted(notes), sorted(people), state


def _changed_ns(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
