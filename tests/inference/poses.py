"""The toy anatomy in the poses that these tests put it in."""

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.grid import Affine, Grid, apply_affine
from seg_prior.core.pose_prior import PosePrior
from seg_prior.registration.pose_search import fit_pose
from tests.models import toy


def shifted(shift_mm: tuple[float, float, float]) -> Affine:
    """native_from_prior."""
    pose = np.eye(4)
    pose[:3, 3] = shift_mm
    return pose


def scattered(crop: Grid) -> PosePrior:
    """Anatomies anywhere within some 8 mm, in crops of one grid."""
    rng = np.random.default_rng(0)
    moves = [np.linalg.inv(shifted(tuple(rng.normal(0, 8, 3)))) for _ in range(30)]
    return fit_pose(moves, [crop] * 30, radius_mm=25.0)


def labels_on(grid: Grid, native_from_prior: Affine) -> NDArray[np.int64]:
    """The toy anatomy where a pose puts it, on a grid."""
    world_mm = apply_affine(grid.affine, np.argwhere(np.ones(grid.shape, dtype=bool)))
    to_prior = np.linalg.inv(native_from_prior @ toy.grid().affine)
    voxel = apply_affine(to_prior, world_mm).round().astype(int)
    inside = ((voxel >= 0) & (voxel < toy.SHAPE)).all(axis=1)
    labels = np.zeros(len(voxel), dtype=np.int64)
    labels[inside] = toy.label_map().numpy()[tuple(voxel[inside].T)]
    return labels.reshape(grid.shape)
