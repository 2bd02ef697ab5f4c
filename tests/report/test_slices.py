"""Slices show the right part of the anatomy, the right way round."""

import itertools

import numpy as np
import pytest

from seg_prior.core.grid import Grid
from seg_prior.report.slices import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    View,
    borders,
    cut,
    find_view,
    magnify_linear,
    magnify_nearest,
    to_ras,
)

ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def reorient(
    data: np.ndarray, grid: Grid, order: tuple[int, ...], signs: tuple[int, ...]
) -> tuple[np.ndarray, Grid]:
    """The same content in an array whose axis n is axis order[n] of this one, flipped by sign."""
    turned = np.transpose(data, order)[tuple(slice(None, None, sign) for sign in signs)]
    affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, order] * signs
    for axis, sign in zip(order, signs, strict=True):
        if sign < 0:
            affine[:3, 3] += grid.affine[:3, axis] * (data.shape[axis] - 1)
    i, j, k = turned.shape
    return turned, Grid((i, j, k), affine)


def _oblique_grid() -> Grid:
    """Not far from RAS, sheared and anisotropic."""
    affine = np.array(
        [[0.9, 0.1, -0.2, 3], [-0.1, 1.9, 0.3, -7], [0.15, -0.3, 2.8, 11], [0, 0, 0, 1]]
    )
    return Grid((7, 9, 6), affine)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_every_orientation_of_a_volume_turns_to_one_array(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    grid = _oblique_grid()
    data = np.random.default_rng(0).integers(0, 5, grid.shape)
    partner = np.arange(5)
    view = find_view([data], grid, partner)
    turned, turned_grid = reorient(data, grid, order, signs)
    np.testing.assert_array_equal(to_ras(turned, turned_grid), data)
    turned_view = find_view([turned], turned_grid, partner)
    for name in ("center", "start", "stop", "extent_mm"):
        np.testing.assert_array_equal(getattr(turned_view, name), getattr(view, name))


def test_planes_run_from_left_to_right_and_upwards() -> None:
    grid = Grid((4, 5, 6), np.eye(4))
    i, j, k = np.indices(grid.shape)
    view = View(np.array([1, 2, 3]), np.zeros(3, int), np.array(grid.shape), np.ones(3))
    np.testing.assert_array_equal(
        cut(i + 10 * j + 100 * k, grid, view, AXIAL)[:, 0], 300 + np.arange(4)
    )
    np.testing.assert_array_equal(
        cut(i + 10 * j + 100 * k, grid, view, CORONAL)[3], 23 + 100 * np.arange(6)
    )
    np.testing.assert_array_equal(
        cut(i + 10 * j + 100 * k, grid, view, SAGITTAL)[:, 5], 501 + 10 * np.arange(5)
    )


def test_view_frames_the_anatomy_and_cuts_where_most_structures_are() -> None:
    grid = Grid((30, 30, 30), np.diag([1.0, 2.0, 3.0, 1.0]))
    labels = np.zeros(grid.shape, dtype=np.uint8)
    labels[5:25, 8:20, 10:20] = 1
    labels[16, 14, 15] = 2  # in the middle third of every axis
    view = find_view([labels], grid, np.arange(3))
    assert view.center.tolist() == [16, 14, 15]
    assert view.start.tolist() == [4, 8, 10]
    assert view.stop.tolist() == [26, 20, 20]
    assert view.extent_mm.tolist() == [22, 24, 30]


def test_left_and_right_count_once() -> None:
    grid = Grid((30, 30, 30), np.eye(4))
    i, j, _ = np.indices(grid.shape)
    labels = np.where(i + 2 * (j % 2) < 15, 2, 1)  # slices 13 and 14 hold half of each side
    labels[17, 14, 14] = 3
    sides, no_sides = np.array([0, 2, 1, 3]), np.arange(4)
    assert find_view([labels], grid, sides).center[0] == 17
    assert find_view([labels], grid, no_sides).center[0] == 14


@pytest.mark.parametrize("label_maps", [[], [np.zeros((4, 6, 8), dtype=np.uint8)]])
def test_without_anatomy_the_whole_grid_is_shown(label_maps: list[np.ndarray]) -> None:
    view = find_view(label_maps, Grid((4, 6, 8), np.eye(4)), np.arange(2))
    assert view.center.tolist() == [2, 3, 4]
    assert view.start.tolist() == [0, 0, 0]
    assert view.stop.tolist() == [4, 6, 8]


def test_magnified_by_hand() -> None:
    pixels = np.array([[0.0, 4.0]])
    np.testing.assert_array_equal(magnify_nearest(pixels, (1, 4)), [[0, 0, 4, 4]])
    np.testing.assert_allclose(magnify_linear(pixels, (2, 4)), [[0, 1, 3, 4]] * 2)


def test_borders_stand_on_both_sides() -> None:
    labels = np.array([[1, 1, 1, 2, 2, 2]] * 2)
    np.testing.assert_array_equal(borders(labels), [[False, False, True, True, False, False]] * 2)
    assert not borders(np.full((3, 3), 5)).any()
