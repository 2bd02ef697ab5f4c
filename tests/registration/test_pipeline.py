"""What cannot be brought to prior space is refused in one line."""

import numpy as np
import pytest

from seg_prior.core.grid import Grid
from seg_prior.core.volume import Volume
from seg_prior.errors import ImageError
from seg_prior.registration.pipeline import MAX_ANATOMIES, Atlas, register_scan
from tests.registration.test_affine import (
    ANATOMY,
    PAINTED,
    PLAIN,
    PRIOR_GRID,
    paint,
)

ATLAS = Atlas(PAINTED, ANATOMY, PRIOR_GRID)


def volume(data: np.ndarray, grid: Grid = PLAIN) -> Volume:
    return Volume(data.astype(np.float32), grid, source="scan.nii.gz")


def test_noise_cannot_be_aligned() -> None:
    noise = np.random.default_rng(0).normal(100, 10, PLAIN.shape)
    with pytest.raises(ImageError, match=r"^scan\.nii\.gz: cannot be aligned .*tells only \d%"):
        register_scan([volume(noise)], ATLAS, seed=0)


def test_a_field_of_view_in_which_the_anatomy_is_a_speck_is_refused_at_once() -> None:
    values = paint(PLAIN, np.eye(4)) + np.random.default_rng(0).uniform(0.1, 0.2, PLAIN.shape)
    vast = Grid(PLAIN.shape, np.diag([12.0, 12.0, 12.0, 1.0]) @ PLAIN.affine)
    with pytest.raises(ImageError, match=rf"found a field of view \d+ times .* {MAX_ANATOMIES}\."):
        register_scan([volume(values, vast)], ATLAS, seed=0)


def test_an_image_of_the_anatomy_is_brought() -> None:
    found = register_scan([volume(paint(PLAIN, np.eye(4)))], ATLAS, seed=0)
    assert found.registration.failure is None
    assert found.image.shape == (1, *PRIOR_GRID.shape)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ((0.01, 0.01, 0.01), r"found a field of view \S+ times the size .* need at least 0\.001"),
        ((0.01, 1, 1), r"found a field of view 1\.3 mm thin, less than a voxel of the model's"),
    ],
)
def test_a_field_of_view_that_is_a_speck_is_refused_at_once(
    edges: tuple[float, ...], message: str
) -> None:
    values = paint(PLAIN, np.eye(4)) + np.random.default_rng(0).uniform(0.1, 0.2, PLAIN.shape)
    tiny = Grid(PLAIN.shape, np.diag([*edges, 1.0]) @ PLAIN.affine)
    with pytest.raises(ImageError, match=message):
        register_scan([volume(values, tiny)], ATLAS, seed=0)


def test_what_takes_more_memory_than_is_free_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seg_prior.core.memory.free_bytes", lambda: 1e5)
    with pytest.raises(ImageError, match=r"^scan\.nii\.gz: found shape .* takes about .* GB free"):
        register_scan([volume(paint(PLAIN, np.eye(4)))], ATLAS, seed=0)
