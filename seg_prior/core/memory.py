"""How much memory is left, so that what cannot fit is refused before it is taken."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from pathlib import Path

_PROCESS = Path("/proc/self/status")
_MACHINE = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT_BYTES = 1 << 28  # an array of a scan at 1 mm, none of one at 0.4 mm


def free_bytes() -> float:
    """What this process can still take: of the machine, of its container, of its own limit.

    Infinite where none of them can be read, as outside Linux.
    """
    return max(0.0, min((*_of_machine(), *_of_container(), *_of_process()), default=math.inf))


def too_much(num_bytes: float) -> str:
    """Why so much memory cannot be taken, `takes about 12 GB of memory, found 3.1 GB free`.

    Empty where it can.
    """
    free = free_bytes()
    if num_bytes <= free:
        return ""
    return f"takes about {num_bytes / 1e9:.2g} GB of memory, found {free / 1e9:.2g} GB free"


def keep_freed_memory() -> None:
    """Let this process keep what it frees for what it takes next.

    The C library gives a large array back to the system when it is freed, and has every page of the
    next one cleared anew: a fifth of the CPU time of a scan. Only glibc can be told otherwise.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt") and hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _of_machine() -> Iterator[float]:
    yield from _kilobytes(_MACHINE, "MemAvailable:")


def _of_container() -> Iterator[float]:
    try:
        limit = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        cache = (_GROUP / "memory.stat").read_text().split()
        reclaimable = int(cache[cache.index("inactive_file") + 1])
    except (OSError, ValueError, IndexError):  # no container, or "max": no limit
        return
    yield limit - used + reclaimable


def _of_process() -> Iterator[float]:
    """Of `ulimit -v`, what is left."""
    try:
        import resource
    except ImportError:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return
    for used in _kilobytes(_PROCESS, "VmSize:"):
        yield limit - used


def _kilobytes(file: Path, key: str) -> Iterator[float]:
    try:
        words = file.read_text(encoding="ascii").split()
        yield int(words[words.index(key) + 1]) * 1024.0
    except (OSError, ValueError, IndexError):
        return
