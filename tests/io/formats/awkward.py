"""A volume on grids that a reader can get wrong."""

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_prior.core.grid import Grid
from seg_prior.core.volume import Volume
from seg_prior.errors import SegPriorError
from seg_prior.io.read import read_volume

SHAPE = (5, 6, 7)
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def _rotation(degrees: float) -> NDArray[np.float64]:
    """About an axis that is none of i, j, k."""
    x, y, z = np.array([1.0, 2.0, 3.0]) / math.sqrt(14)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = math.radians(degrees)
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def affine_of(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = linear, (-31.5, 12.25, 80.0)
    return affine


RIGID = {
    "oblique": affine_of(_rotation(25)),
    "flipped": affine_of(np.diag([-1.0, 1.0, 1.0])),
    "permuted": affine_of(np.array([[0.0, 0, -2], [-1, 0, 0], [0, 1.5, 0]])),
    "anisotropic": affine_of(_rotation(-70) @ np.diag([0.8, 1.1, 9.0])),
}
SHEARED = {"sheared": affine_of(np.array([[1.0, 0.3, 0], [0, 1.2, 0.2], [0, 0, 2]]))}
AFFINES = RIGID | SHEARED


def intensities() -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(-300, 3000, SHAPE).astype(np.int16)


def label_map() -> NDArray[np.uint8]:
    return np.random.default_rng(1).choice([0, 2, 17, 41], SHAPE).astype(np.uint8)


def check_same(volume: Volume, data: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    """Voxels are equal, and no corner is further away than a thousandth of a voxel."""
    assert np.array_equal(volume.data, data)
    assert volume.grid.same_as(Grid(SHAPE, affine), tolerance_voxels=1e-3)


def refusal(path: Path) -> str:
    """The one line that says why an image is not read."""
    with pytest.raises(SegPriorError) as error:
        read_volume(path)
    message = str(error.value)
    assert message.startswith(f"{path}")
    assert "\n" not in message
    return message
