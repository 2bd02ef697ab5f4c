"""The bytes of an image file: what its header claims is held against what the file can hold."""

from __future__ import annotations

import contextlib
import gzip
import io
import logging
import math
import os
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from numpy.typing import NDArray

from seg_prior.core.volume import SUFFIXES
from seg_prior.errors import ImageError

MAX_INFLATION = 1032
"""So many bytes at most come of one that deflate has packed (RFC 1951: 258 bytes from 2 bits)."""
_MAX_HEADER_BYTES = 1 << 26
_MAX_TAIL_BYTES = 1 << 26
_CHUNK_BYTES = 1 << 20


class Stored(NamedTuple):
    """What an image file holds, its voxels not read yet.

    Attributes:
        shape: Of the array.
        dataobj: What indexing reads voxels from, scaled as the header says.
        header: A nibabel header.
        affine: (4, 4), voxel -> world in the header's units.
        step: Between neighbouring values of an integer that is stored scaled; 0 of any other.
    """

    shape: tuple[int, ...]
    dataobj: Any
    header: Any
    affine: NDArray[np.float64]
    step: float = 0.0


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[Stored]:
    """An image file whose voxels can be read inside the block.

    Nothing is mapped into memory: a file that shrinks meanwhile is an error here and not the end
    of the process. At the end of the block what is left of a gzip stream is read, because its
    checksum stands behind it.

    Args:
        path: Ends in .nii, .nii.gz, .mgz or .mgh; whether it is gzipped, its content says.

    Raises:
        ImageError: The file is missing, no image, claims more than it can hold, or is damaged.
    """
    if not path.exists():
        raise ImageError(f"{path}: {_absence(path)}")
    if not path.name.lower().endswith(SUFFIXES):
        raise ImageError(
            f"{path}: found a name without an image suffix, need one of {', '.join(SUFFIXES)}. "
            "Convert or rename it."
        )
    try:
        file = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        is_packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        num_bytes = os.fstat(file.fileno()).st_size
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if is_packed else file
        try:
            with quiet_nibabel():
                header = _header(path, stream)
                stored, end = _stored(stream, header)
        except Exception as error:  # damaged headers make nibabel raise KeyError, zlib.error, ...
            raise _unreadable(path, error) from error
        _check_claim(path, end, num_bytes * MAX_INFLATION if is_packed else num_bytes, is_packed)
        yield stored
        if is_packed:
            _check_sum(path, stream, end)


def first_line(error: BaseException) -> str:
    """What an error of a library says, short enough for a message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


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


def _absence(path: Path) -> str:
    if path.is_symlink():
        return (
            f"found a link to {os.readlink(path)}, where no file is. Fetch it, for instance with "
            "datalad get."
        )
    return "no such file. Check the path."


def _unreadable(path: Path, error: BaseException) -> ImageError:
    return ImageError(
        f"{path}: not a readable NIfTI or MGH image ({first_line(error)}). Convert it to .nii.gz."
    )


def _header(path: Path, stream: BinaryIO) -> Any:
    """The header, extensions included, read from no more bytes than one may have."""
    if path.name.lower().endswith((".mgz", ".mgh")):
        head = stream.read(284)
        header = nib.freesurfer.mghformat.MGHHeader(head)
        header["goodRASFlag"] = int.from_bytes(head[28:30], "big")  # nibabel would say 1
        return header
    head = stream.read(540)
    is_second = 540 in (int.from_bytes(head[:4], order) for order in ("little", "big"))
    kind = nib.Nifti2Header if is_second else nib.Nifti1Header
    fixed = kind.from_fileobj(io.BytesIO(head[: kind.sizeof_hdr]))
    offset = int(fixed["vox_offset"])
    if offset > _MAX_HEADER_BYTES:
        raise ValueError(f"a header of {offset} bytes")
    head += stream.read(max(0, offset - len(head)))
    return kind.from_fileobj(io.BytesIO(head))


def _stored(stream: BinaryIO, header: Any) -> tuple[Stored, int]:
    """What the header describes, and where its last voxel ends."""
    shape = tuple(int(n) for n in header.get_data_shape())
    if min(shape, default=0) < 1:
        raise ValueError(f"a shape of {shape}")
    end = int(header.get_data_offset()) + math.prod(shape) * header.get_data_dtype().itemsize
    voxels = ArrayProxy(stream, header, mmap=False)
    affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    step = 0.0
    if isinstance(header, nib.Nifti1Header):
        is_integer = np.issubdtype(header.get_data_dtype(), np.integer)
        step = abs(float(voxels.slope)) if is_integer and voxels.slope != 1 else 0.0
        header.set_slope_inter(None, None)  # values are scaled as they are read, not again
    return Stored(shape, voxels, header, affine, step), end


def _check_claim(path: Path, end: int, most: int, is_packed: bool) -> None:
    """Refuse a header that promises more than the file can hold, before memory is taken."""
    if end > most:
        holds = f"{most} bytes at most, packed" if is_packed else f"{most} bytes"
        raise ImageError(
            f"{path}: its header promises {end} bytes, the file holds {holds}; it is truncated "
            "or damaged. Copy or convert it again."
        )


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
