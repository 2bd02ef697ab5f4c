"""Alterations: what is altered is known, and everything else stays where it was."""

import numpy as np
import pytest

from experiments.alter import (
    MAX_SHIFT_MM,
    MAX_TURN_DEG,
    invert,
    move,
    thicken,
)
from seg_prior.core.grid import Grid, apply_affine
from seg_prior.core.volume import Volume

SHAPE = (6, 7, 11)


@pytest.fixture
def pair() -> tuple[Volume, Volume]:
    """A scan inside a margin of zeros, and labels; axes LAS, 1 x 1 x 2 mm."""
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = 4, -3, 9
    rng = np.random.default_rng(0)
    data = np.zeros(SHAPE)
    data[1:-1, 1:-1, 1:-1] = rng.uniform(10, 90, (4, 5, 9))
    labels = rng.integers(0, 3, SHAPE)
    return Volume(data, Grid(SHAPE, affine)), Volume(labels, Grid(SHAPE, affine))


def test_inverting_keeps_the_field_of_view(pair: tuple[Volume, Volume]) -> None:
    scan, reference = invert(*pair)
    before, after = pair[0].data, scan.data
    assert ((before > 0) == (after > 0)).all()
    inside = before > 0
    np.testing.assert_allclose(before[inside] + after[inside], before.max() + 1)
    assert reference is pair[1]


def test_thick_slices_are_means_and_lie_in_the_middle(pair: tuple[Volume, Volume]) -> None:
    scan, reference = thicken(*pair, slice_mm=6.0)
    assert scan.data.shape == reference.data.shape == (6, 7, 3)
    np.testing.assert_allclose(scan.data[:, :, 1], pair[0].data[:, :, 3:6].mean(2))
    middle = apply_affine(scan.grid.affine, np.array([[2, 3, 1]]))
    np.testing.assert_allclose(middle, apply_affine(pair[0].grid.affine, np.array([[2, 3, 4]])))
    np.testing.assert_allclose(scan.grid.spacing_mm, [1, 1, 6])
    runs = pair[1].data[:, :, :9].reshape(6, 7, 3, 3)
    for place in np.ndindex(6, 7, 3):
        assert reference.data[place] == np.bincount(runs[place]).argmax()


@pytest.mark.parametrize("seed", range(6))
def test_a_moved_head_is_a_rigid_one(pair: tuple[Volume, Volume], seed: int) -> None:
    scan, reference = move(*pair, seed)
    assert sorted(scan.data.ravel()) == sorted(pair[0].data.ravel())
    assert scan.grid.same_as(reference.grid)
    # Distinct values say which voxel went where: one rotation and shift for all of them.
    places = [np.argwhere(volume.data > 0) for volume in (pair[0], scan)]
    values = [v.data[tuple(p.T)] for v, p in zip((pair[0], scan), places, strict=True)]
    worlds = [
        apply_affine(v.grid.affine, p[np.argsort(x)])
        for v, p, x in zip((pair[0], scan), places, values, strict=True)
    ]
    solved = np.linalg.lstsq(np.c_[worlds[0], np.ones(len(worlds[0]))], worlds[1], rcond=None)
    turn = solved[0][:3].T
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(turn) == pytest.approx(1)
    angle = np.rad2deg(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    assert 0 < angle <= MAX_TURN_DEG
    shift = scan.grid.center_mm - pair[0].grid.center_mm
    assert 0 < np.linalg.norm(shift) <= MAX_SHIFT_MM
