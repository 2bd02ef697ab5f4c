"""Grids by hand: spacing, volume, centre, crop and likeness."""

import numpy as np
import pytest

from seg_prior.core.grid import Affine, Grid, apply_affine

OBLIQUE = np.array(
    [[0.0, -3.0, 0.0, 10.0], [2.0, 0.0, 0.0, -20.0], [0.0, 0.0, -0.5, 30.0], [0, 0, 0, 1]]
)


def shifted(affine: Affine, shift_mm: float) -> Affine:
    moved = affine.copy()
    moved[0, 3] += shift_mm
    return moved


def test_spacing_is_the_edge_length_of_each_voxel_axis() -> None:
    assert Grid((4, 5, 6), OBLIQUE).spacing_mm == pytest.approx([2.0, 3.0, 0.5])


def test_voxel_volume_counts_shear_and_ignores_handedness() -> None:
    assert Grid((4, 5, 6), OBLIQUE).voxel_volume_mm3 == pytest.approx(3.0)
    sheared = np.diag([1.0, 2.0, 3.0, 1.0])
    sheared[0, 1] = 5.0
    assert Grid((4, 5, 6), sheared).voxel_volume_mm3 == pytest.approx(6.0)


def test_center_is_the_middle_of_the_corner_voxels() -> None:
    grid = Grid((3, 4, 5), OBLIQUE)
    corners = apply_affine(OBLIQUE, np.array([[0, 0, 0], [2, 3, 4]]))
    assert grid.center_mm == pytest.approx(corners.mean(axis=0))
    assert grid.center_mm == pytest.approx([10 - 4.5, -20 + 2.0, 30 - 1.0])


def test_apply_affine_by_hand_and_back() -> None:
    points = np.array([[0, 0, 0], [1, 2, 3]])
    world = apply_affine(OBLIQUE, points)
    assert world == pytest.approx(np.array([[10, -20, 30], [4, -18, 28.5]]))
    assert apply_affine(np.linalg.inv(OBLIQUE), world) == pytest.approx(points)


def test_same_as_tolerates_rounding_and_no_more() -> None:
    grid = Grid((4, 5, 6), OBLIQUE)
    assert grid.same_as(Grid((4, 5, 6), shifted(OBLIQUE, 9e-3)))  # of 0.5 mm, the shortest edge
    assert not grid.same_as(Grid((4, 5, 6), shifted(OBLIQUE, 11e-3)))
    assert grid.shift_mm(Grid((4, 5, 6), shifted(OBLIQUE, 11e-3))) == pytest.approx(11e-3)
    assert not grid.same_as(Grid((4, 6, 5), OBLIQUE))


def test_same_as_looks_at_the_far_corners() -> None:
    # 1e-4 mm a voxel is nothing at the origin and 0.026 mm at voxel 255.
    stretched = np.eye(4)
    stretched[0, 0] += 1e-4
    assert not Grid((256, 4, 4), np.eye(4)).same_as(Grid((256, 4, 4), stretched))
    assert Grid((50, 4, 4), np.eye(4)).same_as(Grid((50, 4, 4), stretched))


def test_same_as_sees_a_flip_that_keeps_the_corners() -> None:
    flipped = np.diag([-1.0, 1.0, 1.0, 1.0])
    flipped[0, 3] = 3.0
    assert not Grid((4, 4, 4), np.eye(4)).same_as(Grid((4, 4, 4), flipped))


def test_a_crop_keeps_each_voxel_where_it_was() -> None:
    grid = Grid((9, 8, 7), OBLIQUE)
    start, stop = np.array([2, 3, 1]), np.array([5, 8, 7])
    crop = grid.crop(start, stop)
    assert crop.shape == (3, 5, 6)
    inside = np.array([[0, 0, 0], [2, 4, 5]])
    assert apply_affine(crop.affine, inside) == pytest.approx(apply_affine(OBLIQUE, inside + start))
    assert grid.affine[0, 3] == 10.0  # the grid itself is left alone
