"""What stands in a folder of results: finished scans and failed ones, whoever did them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seg_prior.errors import ConfigError
from seg_prior.io.formats import strip_suffix
from seg_prior.io.sidecar import read_ours
from seg_prior.io.tables import read_columns
from seg_prior.output.layout import VOLUME_COLUMNS
from seg_prior.output.ownership import REPLACED

UNKNOWN = "n/a"
"""In place of cells that a scan has not."""
_RESULT, _FAILURE = "_dseg.json", "_failed.json"
_BIDS_FOLDERS = ("sub-*/anat", "sub-*/ses-*/anat")
"""Where label maps lie in a folder of results, beside the folder itself."""


class Notes(NamedTuple):
    """Paths of what stands beside label maps, by folder and name.

    Attributes:
        results: Sidecars.
        failures: Notes of failures.
        state: Is another whenever a scan of the folder was finished or failed.
    """

    results: list[str]
    failures: list[str]
    state: bytes


class Result(NamedTuple):
    """A finished scan of a folder: its label map and what its sidecar says."""

    target: Path
    sidecar: dict[str, Any]

    @property
    def name(self) -> str:
        """What tables call it."""
        return strip_suffix(self.target).removesuffix("_dseg")

    def file(self, *ends: str) -> Path | None:
        """Its file whose name ends so, if it has one."""
        for name in self.sidecar["files"]:
            if name.endswith(ends) and self.target.with_name(name).is_file():
                return self.target.with_name(name)
        return None

    def volumes(self) -> list[Sequence[str]] | None:
        """Its table of volumes: for each label `VOLUME_COLUMNS`; None if it has none.

        Raises:
            ConfigError: It cannot be read.
        """
        table = self.file("_volumes.tsv", "_desc-volumes_morph.tsv")
        try:
            return None if table is None else read_columns(table, VOLUME_COLUMNS, UNKNOWN)
        except (OSError, ValueError, IndexError) as error:
            raise ConfigError(
                f"{table}: cannot be read ({error}), need it for the table of all scans. Move it "
                "away, or segment its scan again."
            ) from error


def find_notes(out: Path) -> Notes:
    """What is there now."""
    results: list[str] = []
    failures: list[str] = []
    state = hashlib.sha256()
    folders = (folder for pattern in _BIDS_FOLDERS for folder in sorted(out.glob(pattern)))
    for folder in (out, *folders):
        for note in _notes_in(folder):
            (results if note.name.endswith(_RESULT) else failures).append(note.path)
            state.update(f"{note.path} {_changed_ns(note)}\n".encode(errors="surrogateescape"))
    return Notes(results, failures, state.digest())


def read_results(sidecars: Iterable[str]) -> Iterator[Result]:
    """Every finished scan, one at a time: no memory holds a hundred thousand sidecars."""
    for path in map(Path, sidecars):
        sidecar = read_ours(path)
        target = path.with_name(f"{strip_suffix(path)}.nii.gz")
        is_whole = REPLACED not in sidecar and target.name in sidecar.get("files", ())
        if is_whole and target.is_file():
            yield Result(target, sidecar)


def read_failures(notes: Iterable[str]) -> list[tuple[str, str]]:
    """(scan, message) of every scan that failed and is not finished since."""
    found = filter(None, (read_ours(Path(note)) for note in notes))
    return [(str(note.get("scan")), str(note.get("message"))) for note in found]


def _notes_in(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            found = [
                entry
                for entry in entries
                if entry.name.endswith((_RESULT, _FAILURE)) and not entry.name.startswith(".")
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=lambda entry: entry.name)


def _changed_ns(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
