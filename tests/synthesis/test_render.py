"""Images of anatomies: what the config says, part by part."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from seg_prior.config.synthesis import SynthesisConfig
from seg_prior.synthesis.anatomies import generator_of
from seg_prior.synthesis.contrast import appearance
from seg_prior.synthesis.render import bias_field, in_slices, render
from tests.synthesis.toy_head import (
    AIR,
    SKIN,
    SPACING_MM,
    WHITE,
    head_ids,
    head_sources,
)

PLAIN = SynthesisConfig(
    contrasts={"straight": 1},
    max_source_sd=0,
    max_sd=0,
    background_sd=0,
    blur_sd_mm=(0, 0),
    max_log_bias=0,
    max_noise=0,
    thick_share=0,
    views={"whole": 1},
)
SOURCES, IDS = head_sources(), head_ids()
ANATOMY = SOURCES.index(IDS)


def drawn(seed: int = 0, **more: object) -> NDArray[np.float32]:
    config = PLAIN.model_copy(update=more)
    look = appearance(SOURCES, "straight", config, generator_of(0, 0))
    return render(ANATOMY, SOURCES, look, SPACING_MM, config, generator_of(seed, 1))


def test_a_plain_image_is_one_value_a_source() -> None:
    image = drawn()
    look = appearance(SOURCES, "straight", PLAIN, generator_of(0, 0))
    np.testing.assert_allclose(image, look.mean.numpy()[ANATOMY], atol=1e-6)
    assert image.dtype == np.float32


def test_the_outside_alone_changes_from_place_to_place_but_for_air() -> None:
    image = drawn(background_sd=0.3)
    assert image[IDS == AIR].std() > 0.1
    assert image[IDS == SKIN].std() > 0.1
    assert image[IDS == WHITE].std() < 1e-6
    airy = drawn(background_sd=0.3, is_background_air=True)
    assert airy[IDS == AIR].std() < 1e-6
    assert airy[IDS == SKIN].std() > 0.1


def test_texture_is_white_or_smooth() -> None:
    config = PLAIN.model_copy(update={"max_sd": 0.1})
    look = appearance(SOURCES, "straight", config, generator_of(0, 5))
    position = int(SOURCES.index(np.array([WHITE]))[0])
    white = render(ANATOMY, SOURCES, look, SPACING_MM, config, generator_of(0, 1))
    assert white[IDS == WHITE].std() == pytest.approx(float(look.sd[position]), rel=0.05)
    patchy = config.model_copy(update={"patchiness": 3.0, "patch_mm": 12.0})
    smooth = render(ANATOMY, SOURCES, look, SPACING_MM, patchy, generator_of(0, 1))

    def roughness(image: NDArray[np.float32]) -> float:
        inner = image[20:28, 20:28, 30:38]  # white matter
        return float(np.diff(inner, axis=2).std() / inner.std())

    assert roughness(smooth) < 0.8 * roughness(white)


def test_thick_slices_smear_along_one_axis_alone() -> None:
    plain = drawn()
    for axis in range(3):
        thick = in_slices(plain, axis, 3.0)
        kept = [float(np.abs(np.diff(thick, axis=a)).max()) for a in range(3)]
        before = [float(np.abs(np.diff(plain, axis=a)).max()) for a in range(3)]
        assert thick.shape == plain.shape
        assert kept[axis] < 0.7 * before[axis]
        assert all(kept[a] > 0.7 * before[a] for a in range(3) if a != axis)
    assert not np.array_equal(drawn(thick_share=1.0), plain)


def test_blur_is_in_mm() -> None:
    edges = [np.abs(np.diff(drawn(blur_sd_mm=(mm, mm)), axis=0)).max() for mm in (0.0, 1.0, 3.0)]
    assert edges[0] > 1.02 * edges[1] > 1.2 * edges[2]


def test_the_bias_field_is_smooth_and_at_most_as_strong_as_stated() -> None:
    config = PLAIN.model_copy(update={"max_log_bias": 0.55})
    folds = []
    for n in range(60):
        field = bias_field((24, 24, 24), 4.0, config, generator_of(0, n))
        assert float(field.log().abs().max()) <= 0.55 + 1e-5
        assert float(field.log().diff(dim=0).abs().max()) < 0.2
        folds.append(float(field.max() / field.min()))
    assert 2.2 < max(folds) <= 3.01
    still = bias_field((24, 24, 24), 4.0, PLAIN, generator_of(0, 0))
    assert torch.equal(still, torch.ones(24, 24, 24))


def test_noise_is_white_and_no_stronger_than_stated() -> None:
    for seed in range(5):
        noise = drawn(seed, max_noise=0.05) - drawn(seed)
        assert 0 < noise.std() <= 0.051


def test_an_image_is_a_function_of_its_generator() -> None:
    config = SynthesisConfig()
    look = appearance(SOURCES, "tent", config, generator_of(0, 0))
    images = [
        render(ANATOMY, SOURCES, look, SPACING_MM, config, generator_of(1, n)) for n in (0, 0, 1)
    ]
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
