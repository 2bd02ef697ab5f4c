import math

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_prior.core.grid import Grid
from seg_prior.registration.pyramid import (
    Level,
    PyramidImage,
    entropy,
    native_image,
    prior_image,
    pyramid_levels,
)


def ball(radius: float) -> NDArray[np.bool_]:
    index = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij"), axis=-1)
    return np.asarray(np.linalg.norm(index - 11.5, axis=-1) < radius)


GRID = Grid((24, 24, 24), np.diag([2.0, 2.0, 2.0, 1.0]))
OBSERVED = ball(8)
IMAGE = np.where(OBSERVED, np.random.default_rng(0).uniform(50, 150, GRID.shape), 0).astype(
    np.float32
)
ANATOMY_MM3 = float(OBSERVED.sum()) * 8


def test_entropy_by_hand() -> None:
    counts = np.array([[1.0, 1, 1, 1], [5, 0, 0, 0], [2, 2, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(entropy(counts), [math.log(4), 0, math.log(2), 0], atol=1e-12)


def test_a_stripped_image_is_told_from_a_large_field_of_view() -> None:
    assert native_image(IMAGE, OBSERVED, GRID, ANATOMY_MM3).is_stripped
    everything = np.ones(GRID.shape, dtype=bool)
    assert not native_image(IMAGE, everything, GRID, ANATOMY_MM3).is_stripped
    # A head that leaves the field of view through the bottom face.
    head = OBSERVED | (ball(11) & (np.arange(24) < 12)) | np.roll(OBSERVED, -8, axis=2)
    assert not native_image(IMAGE, head, GRID, ANATOMY_MM3).is_stripped


def test_a_side_is_cropped_and_keeps_background_apart_from_dark_tissue() -> None:
    side = native_image(IMAGE, OBSERVED, GRID, ANATOMY_MM3)
    values, weight = side.pair
    assert side.grid.shape == (16, 16, 16)
    assert values[weight > 0].min() == pytest.approx(0.1)
    assert values.max() == pytest.approx(1.0)
    assert (values[weight == 0] == 0).all()
    np.testing.assert_allclose(side.center_mm, [23, 23, 23], atol=1e-6)
    assert side.volume_mm3 == pytest.approx(ANATOMY_MM3)


def test_averaging_keeps_volume_and_centre() -> None:
    side = native_image(IMAGE, OBSERVED, GRID, ANATOMY_MM3).averaged(5.0, 10.0)
    np.testing.assert_allclose(side.grid.spacing_mm, 5.0)
    np.testing.assert_allclose(side.center_mm, [23, 23, 23], atol=0.1)
    assert side.volume_mm3 == pytest.approx(ANATOMY_MM3, rel=0.03)


def test_information_is_the_entropy_where_one_side_decides_the_other() -> None:
    values = np.where(np.arange(24) < 12, 0.25, 0.75) * np.ones(GRID.shape)
    pair = np.stack([values, np.ones(GRID.shape)]).astype(np.float32)
    side = PyramidImage(pair, GRID, is_stripped=False)
    level = Level(side, side, np.ones(GRID.shape, dtype=bool))
    away = np.eye(4)
    away[0, 3] = 24.0  # the image reaches only half of the prior
    nowhere = np.eye(4)
    nowhere[0, 3] = 1000.0
    got = level.information(np.stack([np.eye(4), away, nowhere]))
    np.testing.assert_allclose(got, [math.log(2), math.log(2) / 2, 0], atol=1e-6)
    np.testing.assert_allclose(level.joint(away[None])[1], [0.5])


def test_levels_are_never_finer_than_the_prior() -> None:
    prior = prior_image(OBSERVED.astype(np.float32), GRID, OBSERVED)
    native = native_image(IMAGE, OBSERVED, GRID, ANATOMY_MM3)
    fine, medium, coarse = pyramid_levels(prior, native, size_mm=60.0, surround_mm=4.0)
    for level, spacing_mm in ((fine, 2.0), (medium, 60 / 28), (coarse, 60 / 14)):
        assert level.prior.grid.spacing_mm == pytest.approx(spacing_mm)
        is_anatomy = level.prior.pair[1] > 0.5
        assert level.near[is_anatomy].all()
        assert 1.2 < level.near.sum() / is_anatomy.sum() < 3
