"""A file of one stream of bytes, packed or not, whose voxels nibabel reads."""

from __future__ import annotations

import contextlib
import gzip
import logging
import math
import os
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from nibabel.arrayproxy import ArrayProxy

from seg_prior.errors import ImageError
from seg_prior.io.packed import check_claim
from seg_prior.io.stored import first_line

_MAX_TAIL_BYTES = 1 << 26
_CHUNK_BYTES = 1 << 20


class Described(NamedTuple):
    """What a header describes.

    Attributes:
        shape: Of the array.
        voxels: What indexing reads them from.
        step: Between neighbouring values of an integer that is stored scaled; 0 of any other.
    """

    shape: tuple[int, ...]
    voxels: ArrayProxy
    step: float


@contextlib.contextmanager
def open_stream(
    path: Path, read_header: Callable[[BinaryIO], Any]
) -> Iterator[tuple[Any, Described]]:
    """A header and what it describes, whose voxels can be read inside the block.

    Nothing is mapped into memory: a file that shrinks meanwhile is an error here and not the end
    of the process. At the end of the block what is left of a gzip stream is read, because its
    checksum stands behind it.

    Args:
        path: Whether it is gzipped, its content says.
        read_header: Stream -> a nibabel header.

    Raises:
        ImageError: It claims more than it can hold, or is damaged.
    """
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        num_bytes = os.fstat(file.fileno()).st_size
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if is_packed else file
        with quiet_nibabel():
            header = read_header(stream)
            described, end = describe(stream, header)
        check_claim(path, end, num_bytes, is_packed)
        yield header, described
        if is_packed:
            _check_sum(path, stream, end)


@contextlib.contextmanager
def quiet_nibabel() -> Iterator[None]:
    """No remarks of nibabel's own about a header: what matters becomes one of our messages."""
    logger = logging.getLogger("nibabel.global")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def describe(stream: BinaryIO, header: Any) -> tuple[Described, int]:
    """What a header describes, and where its last voxel ends in the stream."""
    shape = tuple(int(n) for n in header.get_data_shape())
    if min(shape, default=0) < 1:
        raise ValueError(f"a shape of {shape}")
    dtype = header.get_data_dtype()
    end = int(header.get_data_offset()) + math.prod(shape) * dtype.itemsize
    voxels = ArrayProxy(stream, header, mmap=False)
    is_scaled = np.issubdtype(dtype, np.integer) and voxels.slope != 1
    return Described(shape, voxels, abs(float(voxels.slope)) if is_scaled else 0.0), end


def _check_sum(path: Path, stream: BinaryIO, end: int) -> None:
    """Read a gzip stream to its end, where its checksum stands."""
    try:
        while stream.read(_CHUNK_BYTES):
            if stream.tell() > end + _MAX_TAIL_BYTES:
                raise ValueError("more than 64 MB follow its voxels")
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ImageError(
            f"{path}: found bytes that were changed after they were packed ({first_line(error)}); "
            "the file is damaged. Copy it again."
        ) from error
