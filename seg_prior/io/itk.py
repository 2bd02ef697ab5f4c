"""Arrays on a grid to SimpleITK images and back: the only axis flip, the only RAS/LPS change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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
    assert data.shape == grid.shape, (data.shape, grid.shape)
    lps = _LPS_FROM_RAS @ grid.affine
    direction = lps[:3, :3] / grid.spacing_mm
    assert np.allclose(direction.T @ direction, np.eye(3), atol=1e-4), "sheared grid"
    values = data.astype(np.uint8) if data.dtype == bool else data
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def from_itk(image: sitk.Image) -> tuple[NDArray[Any], Grid]:
    """The (I, J, K) array of a SimpleITK image and its grid."""
    data = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    lps = np.eye(4)
    lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    i, j, k = data.shape
    return np.ascontiguousarray(data), Grid((i, j, k), _LPS_FROM_RAS @ lps)


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
