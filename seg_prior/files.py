"""Files that appear whole or not at all, and the hash that tells one from another."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from seg_prior.errors import OutputError
from seg_prior.locks import is_at, lock, locked

ANY_NAME = "backslashreplace"
"""How text is encoded, so that file names that are no UTF-8 are spelt."""
_NO_LEAVE = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SURELY_DEAD_S = 24 * 3600
"""After so long the staging folder of another machine, which holds no lock here, is left over."""
_LONGEST_NAME_BYTES = 150
_PROBE_BYTES = 1 << 16
"""A full disk still takes a name; it does not take these."""
_STAGING = re.compile(r"\..+\.[0-9a-f]{8}@[A-Za-z0-9-]+\.tmp", re.DOTALL)
_TRIES = 100
"""For a folder that another run may just take away; one that is never there is then an error."""

Made = TypeVar("Made")


class Files(NamedTuple):
    """What a command reads and writes.

    Attributes:
        reads: Its inputs.
        writes: Files that it may write, but for those that are signed.
        signed: Further ones, which tell of themselves whose they are, and are looked at by who
            writes them: results of `segment`, checkpoints. They can be gone through once: of many
            scans no memory holds them all.
        updates: Of `writes`, inputs that it is there to change.
    """

    reads: list[Path]
    writes: list[Path]
    signed: Iterable[Path | str] = ()
    updates: Sequence[Path] = ()


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path, renamed to `path` on success and removed on failure.

    The file gets the mode that the umask gives, whatever the library that writes it thinks.

    Raises:
        OutputError: The disk is full, or there is no leave to write; what stood there stands.
    """
    with writing(path), staging(path) as folder:
        temporary = folder / path.name
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        mode = os.fstat(descriptor).st_mode & 0o777
        os.close(descriptor)
        yield temporary
        os.chmod(temporary, mode)
        os.replace(temporary, path)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all; of file names that are none, the bytes are spelt.

    Raises:
        OutputError: As `atomic_write`.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=ANY_NAME, newline="")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object, whole or not at all.

    Raises:
        OutputError: As `atomic_write`.
    """
    write_text(path, json.dumps(content, indent=1) + "\n")


@contextlib.contextmanager
def staging(path: Path) -> Iterator[Path]:
    """A hidden folder of one's own beside `path`, gone in the end.

    What killed runs left there goes first. Names are drawn, because two containers may both be
    process 1; the folder is locked while its owner lives, so that nobody takes it for left over.
    """
    _remove_left_overs(path.parent)
    token = f"{secrets.token_hex(4)}@{_host()}"
    unlocked = path.with_name(f"{_hidden(path)}.{token}.new")
    _in_its_folder(unlocked, unlocked.mkdir)
    with locked(unlocked):
        folder = path.with_name(f"{_hidden(path)}.{token}.tmp")
        unlocked.rename(folder)  # locked before anyone looks for it under this name
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether nobody else works on `path`; as long as it lasts, nobody else will be told so.

    The kernel gives the claim back when its holder dies. Where files cannot be locked, everybody
    is told to go on.
    """
    made = list(takewhile(lambda folder: not folder.exists(), path.parents))
    place = path.with_name(f"{_hidden(path)}.lock")
    while True:
        descriptor = _in_its_folder(place, lambda: os.open(place, os.O_CREAT | os.O_RDWR, 0o666))
        try:
            if lock(descriptor) is False:
                yield False
                return
            if not is_at(descriptor, place):
                continue  # its holder has just removed it
            try:
                yield True
            finally:
                place.unlink(missing_ok=True)
                remove_empty(made)
            return
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a full disk and a lack of leave into a message that names the file.

    Raises:
        OutputError: Such an error came up.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_LEAVE | _NO_ROOM:
            raise
        raise OutputError(_refusal(path, error)) from error


def check_writable(folder: Path) -> None:
    """Try out whether files can be made in a folder, or in what of it is there.

    Raises:
        OutputError: They cannot.
    """
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise OutputError(f"{there}: found a file, need a folder to write to. Name another OUT.")
    try:
        with writing(folder), staging(there / "seg-prior") as probe:
            (probe / "probe").write_bytes(bytes(_PROBE_BYTES))
    except FileNotFoundError as error:  # a folder that is there, as /proc, where none can be made
        raise OutputError(_refusal(folder, error)) from error


def is_bare(folder: str) -> bool:
    """Whether a folder is not there, or nothing is in it."""
    try:
        with os.scandir(folder or ".") as entries:
            return next(entries, None) is None
    except FileNotFoundError:
        return True
    except OSError:  # it is a file, or may not be looked into
        return False


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders as far as they are empty, each before the one it is in."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def sha256_of(path: Path) -> str:
    """Of the file's bytes."""
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def split(path: str) -> tuple[str, str]:
    """A folder with what separates it from what is in it, and the name: `a/b` -> `a/`, `b`."""
    begin = path.rfind(os.sep) + 1
    return path[:begin], path[begin:]


def absolute(path: Path) -> Path:
    """Where a file lies whatever the working directory is; links of its folders resolved.

    A link in the last place stays: it is the name that a scan has in its data set.
    """
    return path.parent.resolve() / path.name


def _refusal(path: Path, error: OSError) -> str:
    parts = [part for part in path.parts if not re.fullmatch(r"\..+\.(tmp|new)", part)]
    shown = Path(*parts)
    if error.errno not in _NO_ROOM:
        need = "need leave to write there. Name another OUT, or change the folder's rights"
    else:
        places = (shown.absolute(), *shown.absolute().parents)
        there = next(place for place in places if place.exists())
        free = shutil.disk_usage(there).free / 1e6
        need = f"need room, {free:.1f} MB are free there. Make some, or name another OUT"
    return f"{shown}: cannot be written ({error.strerror}), {need}; what stood there still stands."


def _hidden(path: Path) -> str:
    """A hidden name after a file's; what comes behind it must fit into 255 bytes."""
    raw = os.fsencode(path.name)  # of any bytes, UTF-8 or not
    is_long = len(raw) > _LONGEST_NAME_BYTES
    return f".{hashlib.sha256(raw).hexdigest()[:16] if is_long else path.name}"


def _in_its_folder(path: Path, make: Callable[[], Made]) -> Made:
    """Make a path and the folders above it, though another run may just take away an empty one.

    Raises:
        FileNotFoundError: Time and again, as where the system lets nobody make a folder.
    """
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError):
            return make()
        with contextlib.suppress(FileNotFoundError):
            path.parent.mkdir(parents=True, exist_ok=True)
    return make()


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:32] or "host"


@functools.lru_cache(maxsize=8)
def _remove_left_overs(folder: Path) -> None:
    """Once a process: to list a folder of many scans for each of their files takes ever longer."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for name in [entry.name for entry in entries if _STAGING.fullmatch(entry.name)]:
            _remove_if_dead(folder / name)


def _remove_if_dead(folder: Path) -> None:
    """Remove a staging folder that no living process holds."""
    with contextlib.suppress(OSError):
        # Some network file systems keep locks to one machine.
        is_mine = folder.name.endswith(f"@{_host()}.tmp")
        if not is_mine and time.time() - folder.stat().st_mtime < _SURELY_DEAD_S:
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            if lock(descriptor):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
