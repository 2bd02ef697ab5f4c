"""A scan and its reference, altered in a known way: what a method should not mind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.grid import Affine, Grid
from seg_prior.core.volume import Volume
from seg_prior.registration.intensity import observed

MAX_TURN_DEG, MAX_SHIFT_MM = 40.0, 60.0
Pair = tuple[Volume, Volume]
"""A scan and its reference on one grid."""


def invert(scan: Volume, reference: Volume) -> Pair:
    """Bright becomes dark, inside the field of view."""
    in_view = observed(scan.data)
    values = scan.data[in_view].astype(np.float64)
    data = np.zeros(scan.data.shape)
    data[in_view] = values.max() - values + 1  # 0 stays what was not measured
    return replace(scan, data=data), reference


def thicken(scan: Volume, reference: Volume, slice_mm: float) -> Pair:
    """Axial slices averaged to a thickness; the reference has the label of most of its voxels.

    Voxels beyond the last whole slice are cut off.
    """
    axis = int(np.abs(scan.grid.affine[2, :3]).argmax())
    count = max(1, round(slice_mm / float(scan.grid.spacing_mm[axis])))
    step, origin = np.eye(4), np.zeros(3)
    step[axis, axis] = count
    origin[axis] = (count - 1) / 2
    step[:3, 3] = origin
    affine = scan.grid.affine @ step
    mean = _slabs(scan.data, axis, count).mean(-1)
    most = _mode(_slabs(reference.data, axis, count))
    grid = Grid(mean.shape, affine)
    return (
        replace(scan, data=mean, grid=grid, header=None),
        replace(reference, data=most, grid=grid, header=None),
    )


def move(scan: Volume, reference: Volume, seed: int) -> Pair:
    """Axes in random order and direction, and the head turned and shifted in the world.

    Turns are uniform up to MAX_TURN_DEG about a random axis through the middle, shifts up to
    MAX_SHIFT_MM in a random direction.
    """
    rng = np.random.default_rng(seed)
    order, signs = rng.permutation(3), rng.integers(0, 2, 3).astype(bool)
    rigid = _random_rigid(scan.grid.center_mm, rng)

    def placed(volume: Volume) -> Volume:
        data, affine = volume.data, volume.grid.affine.copy()
        for axis in np.flatnonzero(signs):
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:3, axis] *= -1
            data = np.flip(data, int(axis))
        data = np.ascontiguousarray(data.transpose(order))
        return replace(
            volume, data=data, grid=Grid(data.shape, rigid @ affine[:, [*order, 3]]), header=None
        )

    return placed(scan), placed(reference)


def _random_rigid(center_mm: NDArray[np.float64], rng: np.random.Generator) -> Affine:
    axis, direction = (v / np.linalg.norm(v) for v in rng.standard_normal((2, 3)))
    angle = np.deg2rad(MAX_TURN_DEG) * rng.uniform(-1, 1)
    cross = np.cross(np.eye(3), axis)
    # Rodrigues' rotation formula.
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    rigid = np.eye(4)
    rigid[:3, :3] = turn
    rigid[:3, 3] = center_mm - turn @ center_mm + MAX_SHIFT_MM * rng.uniform() * direction
    return rigid


def _slabs(data: NDArray[Any], axis: int, count: int) -> NDArray[Any]:
    """(I, J, K) -> runs of `count` voxels along one axis, laid out along a last one."""
    kept = data.shape[axis] // count * count
    moved = np.moveaxis(data, axis, -1)[..., :kept]
    runs = moved.reshape(*moved.shape[:-1], -1, count)
    return np.moveaxis(runs, -2, axis)


def _mode(slabs: NDArray[Any]) -> NDArray[Any]:
    """The most frequent value along the last axis; of equally frequent ones the lowest."""
    counts = (slabs[..., :, None] == slabs[..., None, :]).sum(-1)
    best = np.where(counts == counts.max(-1, keepdims=True), slabs, slabs.max())
    return np.asarray(best.min(-1))


ALTERATIONS: dict[str, Callable[[Volume, Volume], Pair]] = {
    "as it is": lambda scan, reference: (scan, reference),
    "intensities inverted": invert,
    "slices of 5 mm": lambda scan, reference: thicken(scan, reference, 5.0),
}
