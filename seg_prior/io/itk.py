"""Arrays on a grid to SimpleITK and back: the only axis flip, the only RAS/LPS change."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from seg_prior.core.grid import Affine, Grid

_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Filters and metrics made inside run on one thread, whatever the machine has.

    A registration's own number of threads does not reach its metric, whose sums then differ in
    the last bits from run to run.
    """
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def to_itk(data: NDArray[Any], grid: Grid) -> sitk.Image:
    """A SimpleITK image of an array, its voxels at the same places of the world.

    Args:
        data: (I, J, K), a type SimpleITK knows; bool is stored as uint8.
        grid: Where `data` lies; its axes must be orthogonal, for SimpleITK has no shear.
    """
    direction = grid.affine[:3, :3] / grid.spacing_mm
    assert np.allclose(direction.T @ direction, np.eye(3), atol=1e-4), "sheared grid"
    return _placed(data, grid)


def _placed(data: NDArray[Any], grid: Grid) -> sitk.Image:
    assert data.shape == grid.shape, (data.shape, grid.shape)
    lps = _LPS_FROM_RAS @ grid.affine
    direction = lps[:3, :3] / grid.spacing_mm
    values = data.astype(np.uint8) if data.dtype == bool else data
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def from_itk(image: sitk.Image) -> tuple[NDArray[Any], Grid]:
    """The (I, J, K) array of a SimpleITK image and its grid."""
    data = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    i, j, k = data.shape
    return np.ascontiguousarray(data), Grid((i, j, k), affine_of(image))


def affine_of(image: sitk.Image | sitk.ImageFileReader) -> Affine:
    """(4, 4), voxel -> mm in RAS+, of an image or of a header that was read; shear stays.

    Of an image of more than three axes, those of the first three.
    """
    num = len(image.GetSize())
    lps = np.eye(4)
    direction = np.reshape(image.GetDirection(), (num, num))[:3, :3]
    lps[:3, :3] = direction * np.asarray(image.GetSpacing()[:3])
    lps[:3, 3] = image.GetOrigin()[:3]
    return np.asarray(_LPS_FROM_RAS @ lps)


def open_itk(path: Path, image_io: str) -> sitk.ImageFileReader:
    """The header of a file, read by one of ITK's readers and by no other.

    Args:
        path: The file.
        image_io: ITK's name of the reader. Left to choose, ITK goes by content, and a NIfTI of any
            name would be placed by its qform.

    Raises:
        RuntimeError: It is no such file.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(image_io)
    with quiet_itk():
        reader.ReadImageInformation()
    return reader


def bytes_of(reader: sitk.ImageFileReader) -> int:
    """What the voxels take that a header describes."""
    bits = re.search(r"(\d+)-bit", sitk.GetPixelIDValueAsString(reader.GetPixelID()))
    if bits is None:
        raise ValueError(f"voxels of type {sitk.GetPixelIDValueAsString(reader.GetPixelID())}")
    return math.prod(shape_of(reader)) * int(bits[1]) // 8


def shape_of(reader: sitk.ImageFileReader) -> tuple[int, ...]:
    """That of `ItkVoxels` of the file, several values of a voxel along a further axis."""
    num = reader.GetNumberOfComponents()
    return (*map(int, reader.GetSize()), *([num] if num > 1 else []))


def write_itk(path: Path, data: NDArray[Any], grid: Grid, image_io: str) -> None:
    """Write an array on a grid, sheared or not, packed, in the format of one of ITK's writers."""
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.SetImageIO(image_io)
    writer.UseCompressionOn()
    with quiet_itk():
        writer.Execute(_placed(data, grid))


class ItkVoxels:
    """Voxels of a file in the order (I, J, K[, more axes][, values of a voxel]), read when indexed.

    Args:
        read: Reads the image.
    """

    def __init__(self, read: Callable[[], sitk.Image]) -> None:
        self._read = read

    def __getitem__(self, part: Any) -> NDArray[Any]:
        with quiet_itk():
            image = self._read()
        values = sitk.GetArrayFromImage(image)
        num = image.GetDimension()
        # ITK has the axes in reverse, and what one voxel holds last.
        return np.asarray(values.transpose(*reversed(range(num)), *range(num, values.ndim))[part])


@contextlib.contextmanager
def quiet_itk() -> Iterator[None]:
    """No remarks of ITK's own on standard error: what matters becomes one of our messages."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def affine_from_itk(transform: sitk.Transform) -> Affine:
    """The (4, 4) RAS mm -> RAS mm matrix of a linear SimpleITK transform.

    Registration gives the transform that takes points of the fixed image to the moving one.
    """
    origin, *units = (
        np.asarray(transform.TransformPoint(point))
        for point in [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    )
    lps = np.eye(4)
    lps[:3, :3] = np.stack([unit - origin for unit in units], axis=1)
    lps[:3, 3] = origin
    return np.asarray(_LPS_FROM_RAS @ lps @ _LPS_FROM_RAS)


def affine_to_itk(affine: Affine) -> sitk.AffineTransform:
    """A SimpleITK transform of a (4, 4) invertible RAS mm -> RAS mm matrix."""
    lps = _LPS_FROM_RAS @ affine @ _LPS_FROM_RAS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    return transform


def point_to_itk(point_mm: NDArray[np.float64]) -> tuple[float, ...]:
    """A (3,) RAS+ point as SimpleITK writes it."""
    return tuple((_LPS_FROM_RAS[:3, :3] @ point_mm).tolist())
