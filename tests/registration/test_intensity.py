import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_prior.errors import ImageError
from seg_prior.io.read import read_volume
from seg_prior.registration.intensity import (
    NORMALISED_RANGE,
    normalise,
    observed,
)

DATA = Path(os.environ.get("SEG_PRIOR_DATA", Path(__file__).parents[3] / "shared" / "data"))


def stripped(value: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A noisy block with one hole in it, amid a constant background."""
    rng = np.random.default_rng(0)
    data = np.full((12, 14, 16), value, dtype=np.float32)
    block = np.zeros(data.shape, dtype=bool)
    block[3:9, 4:10, 5:11] = True
    data[block] = rng.uniform(10, 20, block.sum())
    data[5, 6, 7] = value
    return data, block


@pytest.mark.parametrize("value", [0, -1000])
def test_a_stripped_background_is_not_observed_but_a_hole_is(value: float) -> None:
    data, block = stripped(value)
    np.testing.assert_array_equal(observed(data), block)


def test_a_hole_is_not_opened_by_a_diagonal_leak() -> None:
    data, block = stripped(0)
    data[3, 4, 5] = 0  # a corner: joins the background
    data[4, 5, 6] = 0  # touches that corner only diagonally
    block[3, 4, 5] = False
    np.testing.assert_array_equal(observed(data), block)


def test_an_image_without_a_constant_border_is_observed_everywhere() -> None:
    data = np.random.default_rng(0).uniform(1, 2, (9, 10, 11))
    assert observed(data).all()
    data[0, :5, :5] = 0  # 25 of the 562 voxels on the faces: less than a tenth
    assert observed(data).all()


def test_a_bright_constant_border_is_not_padding() -> None:
    data, _ = stripped(50)
    assert observed(data).all()


def test_of_a_constant_image_nothing_is_observed() -> None:
    assert not observed(np.full((4, 4, 4), 3)).any()


def test_percentiles_become_zero_and_one() -> None:
    data = np.arange(1001, dtype=np.int16).reshape(7, 11, 13)
    is_observed = np.ones(data.shape, dtype=bool)
    scaled = normalise(data, is_observed)
    assert scaled.dtype == np.float32
    assert scaled.ravel()[[10, 990]] == pytest.approx([0, 1])
    assert scaled.ravel()[500] == pytest.approx(0.5)
    for gain, offset in ((1.7e6, 0), (3, -1000)):
        np.testing.assert_allclose(
            normalise(data * float(gain) + offset, is_observed), scaled, atol=1e-6
        )


def test_the_background_does_not_move_the_scale() -> None:
    data, block = stripped(0)
    data[5, 6, 7] = 15
    scaled = normalise(data, observed(data))
    assert np.percentile(scaled[block], [1, 99]) == pytest.approx([0, 1], abs=1e-6)
    assert (scaled[~block] == 0).all()


def test_outliers_stop_at_the_documented_range() -> None:
    data = np.random.default_rng(0).uniform(0, 1, (20, 20, 20))
    data[0, 0, :2] = -1e6, 1e6
    scaled = normalise(data, np.ones(data.shape, dtype=bool))
    assert (scaled.min(), scaled.max()) == NORMALISED_RANGE
    assert scaled[1:].min() > -0.02
    assert scaled[1:].max() < 1.02


@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_image_is_refused_by_name(value: int) -> None:
    data = np.full((4, 5, 6), value)
    message = rf"scan\.nii: found an image without contrast.*both {value}\), need .*Check"
    for is_observed in (observed(data), np.ones(data.shape, dtype=bool)):
        with pytest.raises(ImageError, match=message):
            normalise(data, is_observed, "scan.nii")


@pytest.mark.skipif(not DATA.is_dir(), reason="no real scans: set SEG_PRIOR_DATA to their folder")
@pytest.mark.parametrize(
    ("pattern", "lowest", "highest"),
    [
        ("brain_t1w/*1000_T1w.nii.gz", 0.2, 0.4),
        ("brain_t1w_freesurfer/*_T1w.nii.gz", 0.25, 0.4),
        ("mouse/*_T2w.nii.gz", 0.1, 0.25),
        ("hippocampus/*001_T1w.nii.gz", 1.0, 1.0),
    ],
)
def test_field_of_view_of_real_scans(pattern: str, lowest: float, highest: float) -> None:
    data = read_volume(sorted(DATA.glob(pattern))[0].resolve()).data
    assert lowest <= observed(data).mean() <= highest
