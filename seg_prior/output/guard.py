"""What a command may write to: never its inputs, and nothing that is not as it was written.

A folder that a command writes to keeps a record, `.seg-prior.sha256`, of the files that are ours
and what they held when the command ended. What tells of itself whose it is needs none: results of
`segment` and checkpoints.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from seg_prior.errors import ConfigError
from seg_prior.files import Files, check_writable, is_bare, remove_empty, sha256_of, split, writing

RECORD = ".seg-prior.sha256"
_BEING_WRITTEN = "-"
"""In place of a hash, until the command ends: of a killed one, whatever stands there is ours."""


@contextmanager
def guarded(files: Files) -> Iterator[None]:
    """Refuse what may not be written, before the work; keep a record of what was written after it.

    Raises:
        ConfigError: A file to write is an input, or somebody else's, or was changed since.
        OutputError: A folder to write to takes no files, or its disk is full.
    """
    if os.environ.get("RANK", "0") != "0":  # of several processes, the first one writes
        yield
        return
    recorded = _checked(files)
    del files  # the scans of a long list, which the command has once more
    folders = dict.fromkeys(path.parent for path in recorded)
    new = [folder for folder in folders if not (folder / RECORD).exists()]
    made = [f for folder in folders for f in (folder, *folder.parents) if not f.exists()]
    _note(dict.fromkeys(recorded, _BEING_WRITTEN))
    try:
        yield
    finally:
        _note({path: sha256_of(path) for path in recorded if path.is_file()})
        _clear(new, recorded, made)


def _checked(files: Files) -> list[Path]:
    """Refuse what may not be written; the files to keep a record of."""
    recorded = [path for path in files.writes if path not in files.updates]
    folders = _check_inputs(files.reads, chain(recorded, files.signed))
    for path in recorded:
        _check_ours(path)
    for folder in _places([*folders, *(path.parent for path in files.updates)]):
        check_writable(folder)
    return recorded


def _check_inputs(reads: Iterable[Path], writes: Iterable[Path | str]) -> list[Path]:
    """Refuse to write to an input by whatever name: its path, a link to it, another name of it.

    Returns:
        The folders that are written to.
    """
    # Many files lie in few folders. In one where nothing is, no file has the name of another.
    resolved = functools.cache(lambda folder: os.path.join(Path(folder).resolve(), ""))
    bare = functools.cache(is_bare)

    def identities(folder: str, name: str) -> tuple[object, ...]:
        """Its place, and the file there, which may have other names."""
        place = f"{resolved(folder)}{name}"
        if not bare(folder):
            with contextlib.suppress(OSError, ValueError):  # it is not there
                status = os.stat(f"{folder}{name}")
                return place, (status.st_dev, status.st_ino)
        return (place,)

    inputs = {one: path for path in reads for one in identities(*split(str(path)))}
    folders: dict[str, None] = {}
    for path in writes:
        folder, name = split(str(path))
        folders[folder] = None
        for identity in identities(folder, name):
            if identity in inputs:
                raise ConfigError(
                    f"{path}: found {inputs[identity]}, which is an input of this command, need "
                    "another place to write to. Name another OUT."
                )
    return [Path(folder) for folder in folders]


def _places(all_folders: Iterable[Path]) -> list[Path]:
    """Of folders that are still to be made in one folder, the first."""
    folders = dict.fromkeys(all_folders)
    first: dict[Path, Path] = {}
    for folder in folders:
        above = (place for place in (folder, *folder.parents) if place.exists())
        first.setdefault(next(above, folder), folder)
    return list(first.values())


def _check_ours(path: Path) -> None:
    if not path.exists():
        return
    known = _recorded(path.parent).get(path.name)
    if known != _BEING_WRITTEN and not (path.is_file() and known == sha256_of(path)):
        raise ConfigError(
            f"{path}: found a file that seg-prior did not write there, or that was changed since, "
            "need its place. Name another OUT, rename it, or delete it."
        )


def _recorded(folder: Path) -> dict[str, str]:
    """Name -> hash of the files of a folder that are ours; the last line of a name counts."""
    try:
        lines = (folder / RECORD).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("  ") for line in lines)
    return {name: sha256 for sha256, _, name in pairs}


def _clear(new: Iterable[Path], recorded: Sequence[Path], made: Iterable[Path]) -> None:
    """Remove records where nothing came of the command, and the folders they were made in."""
    for folder in new:
        if not any(path.exists() for path in recorded if path.parent == folder):
            (folder / RECORD).unlink(missing_ok=True)
    remove_empty(made)


def _note(sums: dict[Path, str]) -> None:
    """Add lines to the records of the folders; several commands may do so at once."""
    for folder in dict.fromkeys(path.parent for path in sums):
        known = _recorded(folder)
        own = {path.name: value for path, value in sums.items() if path.parent == folder}
        lines = [f"{value}  {name}\n" for name, value in own.items() if known.get(name) != value]
        if not lines:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        with writing(folder / RECORD):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            descriptor = os.open(folder / RECORD, flags, 0o666)
            try:
                os.write(descriptor, "".join(lines).encode(errors="surrogateescape"))
            finally:
                os.close(descriptor)
