"""Contrasts: each is what its name says, and says of every source what it may."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from seg_prior.config.synthesis import SynthesisConfig
from seg_prior.synthesis.anatomies import generator_of
from seg_prior.synthesis.contrast import appearance, curve, sample_contrast
from seg_prior.synthesis.sources import Sources
from tests.models import toy
from tests.synthesis.toy_head import AIR, LESION, SKIN, head_sources

EXACT = SynthesisConfig(max_source_sd=0, max_sd=0)
TYPICAL = np.array([0.0, 0.4, 0.9, 0.4, 0.6], dtype=np.float32)


def toy_sources() -> Sources:
    return Sources.of(toy.table().ids.tolist(), toy.table(), TYPICAL, {"all": ["outer", "inner"]})


def test_curves_are_what_they_say() -> None:
    typical = torch.linspace(0, 1, 11)
    rising = curve(typical, "straight", generator_of(0, 3))
    falling = curve(typical, "inverted", generator_of(0, 3))
    tent = curve(typical, "tent", generator_of(0, 3))
    assert (rising.diff() > 0).all()
    assert (falling.diff() < 0).all()
    assert 3 <= int(tent.argmax()) <= 8
    for values in (rising, falling, tent):
        assert 0 <= float(values.min()) < float(values.max()) <= 1


def test_ties_and_labels_decide_where_typical_intensities_do_not() -> None:
    tied = appearance(toy_sources(), "tied", EXACT, generator_of(0, 0)).mean
    untied = appearance(toy_sources(), "untied", EXACT, generator_of(0, 0)).mean
    assert len(set(tied[1:].tolist())) == 1
    assert len(set(untied.tolist())) == toy.NUM_LABELS


def test_contrasts_come_as_often_as_their_weights_say() -> None:
    config = EXACT.model_copy(update={"contrasts": {"straight": 3.0, "tied": 1.0, "tent": 0.0}})
    sources = toy_sources()
    drawn = [sample_contrast(sources, config, generator_of(0, n)).contrast for n in range(400)]
    assert drawn.count("tent") == 0
    assert drawn.count("straight") == pytest.approx(300, abs=40)


def test_sources_of_a_label_differ_by_the_stated_spread() -> None:
    config = EXACT.model_copy(update={"max_source_sd": 0.06})
    gaps = []
    for n in range(200):
        mean = appearance(toy_sources(), "straight", config, generator_of(1, n)).mean
        gaps.append(float(mean[toy.SHELL] - mean[toy.LEFT]))
    assert np.std(gaps) == pytest.approx(0.06 / 3**0.5 * 2**0.5, rel=0.2)


def test_sides_are_alike_where_they_are_said_to_be() -> None:
    for share, is_alike in ((1.0, False), (0.0, True)):
        config = SynthesisConfig(lopsided_share=share)
        mean = appearance(toy_sources(), "untied", config, generator_of(0, 1)).mean
        assert (mean[toy.LEFT] == mean[toy.RIGHT]) == is_alike


def test_air_is_dark_and_what_is_free_or_outside_has_any_intensity() -> None:
    sources = head_sources()
    config = EXACT.model_copy(update={"free_ids": (LESION,), "is_background_air": True})
    means = torch.stack(
        [appearance(sources, "straight", config, generator_of(0, n)).mean for n in range(100)]
    )
    index = {int(id_): n for n, id_ in enumerate(sources.ids)}
    assert float(means[:, index[AIR]].max()) <= 0.06
    assert float(means[:, index[SKIN]].max()) > 1.0
    assert float(means[:, index[LESION]].std()) > 0.2


@pytest.mark.parametrize("name", ["contrasts", "views"])
def test_without_any_weight_there_is_nothing_to_draw(name: str) -> None:
    with pytest.raises(ValidationError, match=f"found no weight above 0 among {name}"):
        SynthesisConfig.model_validate({name: {}})
