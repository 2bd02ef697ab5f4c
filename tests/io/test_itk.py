import numpy as np
import pytest

from seg_prior.core.grid import Grid, apply_affine
from seg_prior.io.itk import (
    affine_from_itk,
    affine_to_itk,
    from_itk,
    point_to_itk,
    to_itk,
)


def oblique_grid() -> Grid:
    """Oblique, anisotropic, left-handed and with unequal sides."""
    cos, sin = np.cos(0.4), np.sin(0.4)
    turn = np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    affine = turn @ np.diag([-1.5, 2.0, 3.0, 1.0])
    affine[:3, 3] = 10, -20, 30
    return Grid((3, 4, 5), affine)


def test_array_and_grid_come_back() -> None:
    grid = oblique_grid()
    data = np.arange(60, dtype=np.float32).reshape(grid.shape)
    back, back_grid = from_itk(to_itk(data, grid))
    np.testing.assert_array_equal(back, data)
    assert back_grid.same_as(grid, tolerance_voxels=1e-9)


def test_a_voxel_keeps_its_value_and_its_place_in_lps() -> None:
    grid = oblique_grid()
    data = np.zeros(grid.shape, dtype=np.int16)
    data[2, 1, 3] = 7
    image = to_itk(data, grid)
    x, y, z = apply_affine(grid.affine, np.array([[2, 1, 3]]))[0]
    assert image.GetPixel(2, 1, 3) == 7
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((2, 1, 3)), (-x, -y, z))


def test_a_mask_becomes_zeros_and_ones() -> None:
    grid = oblique_grid()
    mask = np.arange(60).reshape(grid.shape) % 7 == 0
    back, _ = from_itk(to_itk(mask, grid))
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back == 1, mask)


def test_a_sheared_grid_is_our_own_mistake() -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.2
    with pytest.raises(AssertionError, match="sheared"):
        to_itk(np.zeros((2, 2, 2)), Grid((2, 2, 2), affine))


def test_an_affine_moves_the_same_points_and_comes_back() -> None:
    rng = np.random.default_rng(0)
    affine = np.eye(4)
    affine[:3] += rng.normal(0, 0.3, (3, 4))
    transform = affine_to_itk(affine)
    np.testing.assert_allclose(affine_from_itk(transform), affine, atol=1e-9)
    point = np.array([3.0, -5.0, 7.0])
    moved = apply_affine(affine, point[None])[0]
    np.testing.assert_allclose(
        transform.TransformPoint(point_to_itk(point)), point_to_itk(moved), atol=1e-9
    )
