"""Images from files and to files; only this file reads and writes them."""

from __future__ import annotations

import contextlib
import gzip
import logging
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import nibabel as nib
import numpy as np
from nibabel.openers import Opener
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from seg_prior.core.grid import Affine, Grid
from seg_prior.core.volume import Volume
from seg_prior.errors import ImageError
from seg_prior.files import whole_file

Image: TypeAlias = str | Path | SpatialImage | NDArray[Any]
"""What a caller may call an image: a path, a nibabel image, or an array."""


def as_volume(image: Image, affine: Affine | None = None, index: int | None = None) -> Volume:
    """What a caller calls an image, as a Volume.

    Args:
        image: A path, a nibabel image, or an array, which needs an affine.
        affine: (4, 4), voxel -> millimetres in RAS+, of an array; nothing else takes one.
        index: Which volume of a series to take, from 0.

    Raises:
        ImageError: As `read_volume`, or the affine is missing or too much.
    """
    if isinstance(image, np.ndarray) != (affine is not None):
        raise ImageError(
            f"image: found a {type(image).__name__} {'without' if affine is None else 'with'} an "
            "affine, need one with an array and none with anything else."
        )
    if isinstance(image, np.ndarray):
        image = nib.Nifti1Image(image, np.asarray(affine), dtype=image.dtype)
        return replace(_checked(image, "<array>", index), header=None)
    if isinstance(image, SpatialImage):
        return _checked(image, image.get_filename() or "<image>", index)
    return read_volume(Path(image), index)


def read_volume(path: Path, index: int | None = None) -> Volume:
    """Read a 3-D image of finite intensities; a singleton fourth axis is dropped.

    Args:
        path: The file.
        index: Which volume of a series to take, from 0.

    Raises:
        ImageError: The file is missing, truncated, not an image, not 3-D, empty, has a singular
            affine, holds NaN or infinite values, or has no such volume.
    """
    return _checked(_load(path), str(path), index)


def _checked(image: Any, source: str, index: int | None) -> Volume:
    """A nibabel image as a Volume, if it can be one."""
    shape, part = _one_volume(image.shape, source, index)
    if min(shape) < 2:
        raise ImageError(f"{source}: found shape {shape}, need at least 2 voxels along each axis.")
    try:
        data = np.asanyarray(image.dataobj[part]).reshape(shape)
    except Exception as error:  # what the decompressor or the memory map met
        raise ImageError(
            f"{source}: its voxels cannot be read ({_first_line(error)}); the file is "
            "truncated or damaged. Copy or convert it again."
        ) from error
    if not np.issubdtype(data.dtype, np.number) or np.iscomplexobj(data):
        raise ImageError(f"{source}: found voxels of type {data.dtype}, need real numbers.")
    if not np.isfinite(data).all():
        count = int(np.size(data) - np.isfinite(data).sum())
        raise ImageError(
            f"{source}: found {count} NaN or infinite voxels, need finite intensities. "
            "Replace them, for instance by 0."
        )
    affine = np.asarray(image.affine, dtype=np.float64)
    if not _is_invertible(affine):
        raise ImageError(
            f"{source}: its affine is singular; the voxels have no place in the world."
        )
    i, j, k = shape
    return Volume(data, Grid((i, j, k), affine), image.header, source, _header_warnings(image))


def _one_volume(
    shape: tuple[int, ...], source: str, index: int | None
) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """Shape of one volume of an image, and which part of the image that is."""
    if len(shape) == 4 and shape[3] == 1 and not index:
        return shape[:3], (...,)
    if len(shape) == 4 and index is not None and 0 <= index < shape[3]:
        return shape[:3], (..., index)
    if len(shape) == 3 and not index:
        return shape, (...,)
    if len(shape) in (3, 4) and index is not None:
        num = shape[3] if len(shape) == 4 else 1
        raise ImageError(f"{source}: found no volume {index}, need 0 to {num - 1}.")
    advice = (
        f"Choose one with --volume 0 to {shape[3] - 1}."
        if len(shape) == 4
        else "Extract one volume into a file of its own."
    )
    raise ImageError(
        f"{source}: found a {len(shape)}D image of shape {shape}, need one 3D volume. {advice}"
    )


def read_label_map(path: Path) -> Volume:
    """Read a volume of integer ids, whatever type they are stored in.

    Raises:
        ImageError: As `read_volume`, or the values are not whole numbers >= 0.
    """
    volume = read_volume(path)
    values = volume.data
    is_whole = np.array_equal(np.rint(values), values)
    if not is_whole or values.min() < 0 or values.max() > np.iinfo(np.int32).max:
        raise ImageError(
            f"{path}: found values that are not whole numbers >= 0, need a map of label ids. "
            "Is it an intensity or probability image?"
        )
    ids = values.astype(np.int32)
    return Volume(ids, volume.grid, volume.header, volume.source, volume.warnings)


def write_volume(path: Path, data: NDArray[Any], like: Volume) -> None:
    """Write an array on the grid of `like`, with its affine, sform/qform codes and units.

    The file appears whole or not at all.

    Args:
        path: Ends in .nii, .nii.gz, .mgz or .mgh; missing folders are made.
        data: Same shape as `like`; integer arrays are stored in the smallest unsigned type.
        like: The volume whose space the array lives in.
    """
    assert data.shape == like.grid.shape, (data.shape, like.grid.shape)
    if np.issubdtype(data.dtype, np.integer) or data.dtype == bool:
        data = data.astype(np.min_scalar_type(int(data.max(initial=0))))
    else:
        data = data.astype(np.float32)
    if path.name.lower().endswith((".mgz", ".mgh")):
        # MGH knows no unsigned type beyond 8 bits.
        data = data.astype(np.int32) if data.dtype in (np.uint16, np.uint32) else data
        image: Any = nib.freesurfer.MGHImage(data, like.grid.affine)
    else:
        image = nib.Nifti1Image(data, like.grid.affine, _nifti_header(like, data.dtype))
    with whole_file(path) as temporary:
        nib.save(image, temporary)


def write_series(path: Path, volumes: Iterable[NDArray[Any]], num: int, like: Volume) -> None:
    """Write volumes along a fourth axis, one after the other, so that one is in memory at a time.

    Args:
        path: Ends in .nii or .nii.gz.
        volumes: `num` arrays of the shape of `like`, stored as float32.
        num: Length of the fourth axis.
        like: The volume whose space they live in.
    """
    header = _nifti_header(like, np.dtype(np.float32))
    header.set_data_shape((*like.grid.shape, num))
    header.set_slope_inter(1, 0)
    written = 0
    with whole_file(path) as temporary, Opener(str(temporary), "wb") as file:
        header.write_to(file)
        file.write(b"\0" * (header.get_data_offset() - file.tell()))
        for volume in volumes:
            assert volume.shape == like.grid.shape, (volume.shape, like.grid.shape)
            stored = volume.astype(header.get_data_dtype(), copy=False)
            file.write(stored.tobytes(order="F"))
            written += 1
        assert written == num, (written, num)


def _nifti_header(like: Volume, dtype: np.dtype[Any]) -> Any:
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


def _load(path: Path) -> Any:
    if not path.exists():
        raise ImageError(f"{path}: no such file. Check the path.")
    try:
        with _quiet_nibabel():
            return nib.load(path)
    except Exception as error:  # damaged headers make nibabel raise KeyError, zlib.error and more
        raise ImageError(
            f"{path}: not a readable NIfTI or MGH image ({_first_line(error)}). "
            "Convert it to .nii.gz."
        ) from error


@contextlib.contextmanager
def _quiet_nibabel() -> Iterator[None]:
    """No remarks of nibabel's own about a header: what matters becomes one of our messages."""
    logger = logging.getLogger("nibabel.global")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _is_invertible(affine: NDArray[np.float64]) -> bool:
    """Whether no axis vanishes beside the others; relative, because voxels may be micrometres."""
    if not np.isfinite(affine).all():
        return False
    stretch = np.linalg.svd(affine[:3, :3], compute_uv=False)
    return bool(stretch[2] > 1e-6 * stretch[0])


def _header_warnings(image: Any) -> tuple[str, ...]:
    """One line where sform and qform are both set and place the volume differently."""
    header = image.header
    if not isinstance(header, nib.Nifti1Header):
        return ()
    sform, sform_code = header.get_sform(coded=True)
    try:
        qform, qform_code = header.get_qform(coded=True)
    except ValueError:  # a quaternion that is none
        return ("the qform in the header is not a rotation; the sform is used",)
    if sform_code > 0 and qform_code > 0 and not np.allclose(sform, qform, atol=1e-2):
        shift_mm = np.abs(sform - qform).max()
        return (
            f"sform (code {int(sform_code)}) and qform (code {int(qform_code)}) differ by up to "
            f"{shift_mm:.3g}; the sform is used",
        )
    return ()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def encode_nifti(data: NDArray[np.uint8], grid: Grid) -> bytes:
    """A gzipped NIfTI of an array of bytes, for a page that holds its own data.

    Args:
        data: (I, J, K), on `grid`.
        grid: Voxel -> millimetres; the sform has it, sheared or not.
    """
    assert data.shape == grid.shape, (data.shape, grid.shape)
    image = nib.Nifti1Image(data, grid.affine)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), mtime=0)
