"""What nibabel reads: where its headers place voxels, and files of one stream, packed or not."""

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
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy

from seg_prior.errors import ImageError
from seg_prior.io.packed import check_claim
from seg_prior.io.stored import Stored, first_line, sides_unknown

_MAX_TAIL_BYTES = 1 << 26
_CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def open_stream(path: Path, read_header: Callable[[BinaryIO], Any]) -> Iterator[Stored]:
    """What a file holds, whose voxels can be read inside the block.

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
            stored, end = _describe(stream, read_header(stream))
        check_claim(path, end, num_bytes, is_packed)
        yield stored
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


def stored_by_nibabel(
    header: Any, affine: Any, shape: tuple[int, ...], dataobj: Any, step: float = 0.0
) -> Stored:
    """What nibabel has read, in millimetres, and what its header leaves open.

    Args:
        header: Of NIfTI or MGH; another one says nothing of units and sides.
        affine: (4, 4), voxel -> RAS+ in the header's units.
        shape, dataobj, step: As `Stored` has them.
    """
    mm = mm_per_unit(header)
    affine_mm = np.asarray(affine, dtype=np.float64) * np.array([mm, mm, mm, 1.0])[:, None]
    with np.errstate(all="ignore"):
        warnings = _doubts(header)
    return Stored(shape, dataobj, header, affine_mm, step, warnings, mm)


def mm_per_unit(header: Any) -> float:
    """Millimetres of one unit of a header's voxel sizes and affine; 1 where it names none."""
    if not isinstance(header, nib.Nifti1Header):
        return 1.0
    return {1: 1000.0, 3: 0.001}.get(int(header["xyzt_units"]) & 7, 1.0)


def _doubts(header: Any) -> tuple[str, ...]:
    """One line where a header places the volume nowhere, or in two places."""
    if isinstance(header, nib.freesurfer.mghformat.MGHHeader):
        return () if header["goodRASFlag"] else (sides_unknown("goodRASFlag 0"),)
    if not isinstance(header, nib.Nifti1Header):
        return ()
    sform, sform_code = header.get_sform(coded=True)
    try:
        qform, qform_code = header.get_qform(coded=True)
    except ValueError:  # a quaternion that is none
        return ("the qform in the header is not a rotation; the sform is used",)
    if not sform_code and not qform_code:
        return (sides_unknown("sform and qform code 0"),)
    if sform_code > 0 and qform_code > 0 and not np.allclose(sform, qform, atol=1e-2):
        shift = np.abs(sform - qform).max()
        return (
            f"sform (code {int(sform_code)}) and qform (code {int(qform_code)}) differ by up to "
            f"{shift:.3g}; the sform is used",
        )
    return ()


def _describe(stream: BinaryIO, header: Any) -> tuple[Stored, int]:
    """What a header describes, and where its last voxel ends in the stream."""
    shape = tuple(int(n) for n in header.get_data_shape())
    if min(shape, default=0) < 1:
        raise ValueError(f"a shape of {shape}")
    dtype = header.get_data_dtype()
    end = int(header.get_data_offset()) + math.prod(shape) * dtype.itemsize
    voxels = ArrayProxy(stream, header, mmap=False)
    is_scaled = np.issubdtype(dtype, np.integer) and voxels.slope != 1
    step = abs(float(voxels.slope)) if is_scaled else 0.0
    return stored_by_nibabel(header, header.get_best_affine(), shape, voxels, step), end


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
