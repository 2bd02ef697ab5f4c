"""NIfTI-1 and NIfTI-2 in one file, packed or not."""

from __future__ import annotations

import contextlib
import gzip
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.openers import Opener
from numpy.typing import NDArray

from seg_prior.core.grid import Grid
from seg_prior.core.labels import LabelTable
from seg_prior.core.volume import Volume
from seg_prior.files import atomic_write
from seg_prior.io.nibabel_file import mm_per_unit, open_stream, quiet_nibabel
from seg_prior.io.stored import Format, Stored

_MAX_HEADER_BYTES = 1 << 26
_SINGLE = np.dtype(np.float32)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Stored]:
    with open_stream(path, _read_header) as stored:
        stored.header.set_slope_inter(None, None)  # values are scaled as they are read, not again
        yield stored


def _read_header(stream: BinaryIO) -> Any:
    """The header, extensions included, read from no more bytes than one may have."""
    head = stream.read(540)
    is_second = 540 in (int.from_bytes(head[:4], order) for order in ("little", "big"))
    kind = nib.Nifti2Header if is_second else nib.Nifti1Header
    fixed = kind.from_fileobj(io.BytesIO(head[: kind.sizeof_hdr]))
    offset = int(fixed["vox_offset"])
    if offset > _MAX_HEADER_BYTES:
        raise ValueError(f"a header of {offset} bytes")
    head += stream.read(max(0, offset - len(head)))
    return kind.from_fileobj(io.BytesIO(head))


def _write(path: Path, data: NDArray[Any], like: Volume, _: LabelTable | None) -> None:
    header = _header_like(like, data.dtype)
    mm = mm_per_unit(header)
    affine = like.grid.affine / np.array([mm, mm, mm, 1.0])[:, None]
    with quiet_nibabel():
        nib.save(nib.Nifti1Image(data, affine, header), path)


def write_series(
    path: Path,
    volumes: Iterable[NDArray[Any]],
    num: int,
    like: Volume,
    dtype: np.dtype[Any] = _SINGLE,
) -> None:
    """Write volumes along a fourth axis, one after the other, so that one is in memory at a time.

    Args:
        path: Ends in .nii or .nii.gz.
        volumes: `num` arrays of the shape of `like`.
        num: Length of the fourth axis.
        like: The volume whose space they live in.
        dtype: They are stored in.
    """
    header = _header_like(like, dtype)
    header.set_data_shape((*like.grid.shape, num))
    header.set_slope_inter(1, 0)
    header["pixdim"][4:] = 1
    header["xyzt_units"] = int(header["xyzt_units"]) & 7  # labels are no points in time
    written = 0
    with atomic_write(path) as temporary, Opener(str(temporary), "wb") as file:
        header.write_to(file)
        file.write(b"\0" * (header.get_data_offset() - file.tell()))
        for volume in volumes:
            assert volume.shape == like.grid.shape, (volume.shape, like.grid.shape)
            stored = volume.astype(header.get_data_dtype(), copy=False)
            file.write(stored.tobytes(order="F"))
            written += 1
        assert written == num, (written, num)


def _header_like(like: Volume, dtype: np.dtype[Any]) -> Any:
    """A header with codes, units and both forms of `like`; only what describes values is new."""
    if isinstance(like.header, nib.Nifti1Header):
        header = like.header.copy()
        header.set_data_dtype(dtype)
        header.set_intent("none")
        header["cal_min"], header["cal_max"] = 0, 0
        return header
    image = nib.Nifti1Image(np.zeros((1, 1, 1), dtype), like.grid.affine)
    image.set_sform(like.grid.affine, 1)
    image.header.set_xyzt_units("mm")
    return image.header


def encode_nifti(data: NDArray[np.uint8], grid: Grid) -> bytes:
    """A gzipped NIfTI of an array of bytes, for a page that holds its own data.

    Args:
        data: (I, J, K), or (I, J, K, N) of a series, on `grid`.
        grid: Voxel -> millimetres; the sform has it, sheared or not.
    """
    assert data.shape[:3] == grid.shape, (data.shape, grid.shape)
    image = nib.Nifti1Image(data, grid.affine)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), mtime=0)


FORMAT = Format("NIfTI", (".nii", ".nii.gz"), _open, _write, written=(".nii", ".nii.gz"))
