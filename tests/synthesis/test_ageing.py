"""Ageing: what grows, what shrinks, what moves, and that nothing else changes."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from seg_prior.config.synthesis import AgeingConfig
from seg_prior.errors import ConfigError
from seg_prior.synthesis.ageing import (
    add_lesions,
    growth_displacement,
    named_ids,
    sample_age,
    sample_anatomy,
    widen,
    with_hidden_fluid,
)
from seg_prior.synthesis.anatomies import generator_of
from seg_prior.synthesis.scan import centered
from seg_prior.synthesis.sources import Sources
from tests.synthesis.test_deformation import STILL
from tests.synthesis.toy_head import (
    AGEING,
    AIR,
    CAUDATE,
    CORTEX,
    FLUID,
    LESION,
    SKIN,
    SPACING_MM,
    VENTRICLE,
    WHITE,
    head,
    head_grid,
    head_ids,
    head_sources,
    head_table,
)

SOURCES = head_sources()
NOTHING_ELSE = {"widening_mm": 0.0, "lesion_share": 0.0}


def aged(age: float, seed: int = 0, config: AgeingConfig = AGEING) -> NDArray[np.int64]:
    """Ids of the head at an age; growth alone."""
    ageing = config.model_copy(update=NOTHING_ELSE | {"max_age": age})
    label_map = centered(head(), SOURCES)
    rng = generator_of(seed, 0)
    return SOURCES.ids[sample_anatomy(label_map, SOURCES, head_grid(), STILL, ageing, rng)]


def test_ageing_by_nothing_changes_nothing() -> None:
    assert np.array_equal(aged(0.0), head_ids())
    without = AgeingConfig()
    assert np.array_equal(aged(2.0, config=without), head_ids())
    displacement = growth_displacement(
        SOURCES.index(head_ids()), SOURCES, SPACING_MM, AGEING, 0.0, generator_of(0, 0)
    )
    assert not displacement.any()


def test_ventricles_grow_with_age_and_the_caudate_moves_and_stays() -> None:
    young = head_ids()
    before = int((young == VENTRICLE).sum())
    heads = [aged(6.0, seed) for seed in range(4)]
    sizes = [int((old == VENTRICLE).sum()) for old in heads]
    assert min(sizes) >= before
    assert max(sizes) > 1.5 * before
    oldest = heads[int(np.argmax(sizes))]
    moved, start = (np.argwhere(ids == CAUDATE)[:, 0].mean() for ids in (oldest, young))
    assert moved > start + 0.5
    assert 0.3 < (oldest == CAUDATE).sum() / (young == CAUDATE).sum() < 1
    # Far from what grows, all stays.
    for id_ in (AIR, SKIN):
        assert np.array_equal(oldest == id_, young == id_)


def test_growth_follows_age() -> None:
    sizes = [(aged(age, seed=4) == VENTRICLE).sum() for age in (0.0, 0.5, 1.0, 2.0)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_structures_differ_in_size_without_any_age() -> None:
    config = AGEING.model_copy(update={"size_sd": 1.0, "aged_share": 0.0})
    sizes = [(aged(2.0, seed, config) == VENTRICLE).sum() for seed in range(6)]
    assert min(sizes) < (head_ids() == VENTRICLE).sum() < max(sizes)


def test_fluid_takes_cortex_from_outside_and_cortex_white_matter() -> None:
    young = SOURCES.index(head_ids())
    old = widen(young, SOURCES, SPACING_MM, AGEING, 5.0, generator_of(0, 2))
    was, is_ = SOURCES.ids[young], SOURCES.ids[old]
    changed = was != is_
    turned = set(zip(was[changed].tolist(), is_[changed].tolist(), strict=True))
    assert turned <= {(CORTEX, FLUID), (WHITE, CORTEX), (WHITE, FLUID)}
    assert {(CORTEX, FLUID), (WHITE, CORTEX)} <= turned
    assert ndimage.label(is_ == WHITE)[1] == 1
    assert (is_ == FLUID).sum() > (was == FLUID).sum()
    assert np.array_equal(widen(young, SOURCES, SPACING_MM, AGEING, 0.0, generator_of(0, 2)), young)


def test_lesions_take_their_share_of_white_matter_near_the_ventricles() -> None:
    young = SOURCES.index(head_ids())
    old = SOURCES.ids[add_lesions(young, SOURCES, SPACING_MM, AGEING, 0.05, generator_of(0, 3))]
    was = SOURCES.ids[young]
    assert set(was[old == LESION].tolist()) == {WHITE}
    assert (old == LESION).sum() / (was == WHITE).sum() == pytest.approx(0.05, abs=0.02)
    distance = ndimage.distance_transform_edt(was != VENTRICLE)
    assert distance[old == LESION].mean() < distance[was == WHITE].mean()


def test_ages_are_drawn_as_often_as_stated() -> None:
    config = AGEING.model_copy(update={"aged_share": 0.5})
    ages = np.array([sample_age(config, generator_of(0, n)) for n in range(400)])
    assert (ages > 0).mean() == pytest.approx(0.5, abs=0.1)
    assert 1.8 < ages.max() <= 2.0


def test_an_anatomy_is_a_function_of_its_generator() -> None:
    label_map = centered(head(), SOURCES)

    def drawn(seed: int) -> NDArray[np.int16]:
        torch.manual_seed(seed + 7)  # has no say
        rng = generator_of(3, seed)
        return sample_anatomy(label_map, SOURCES, head_grid(), STILL, AGEING, rng)

    assert np.array_equal(drawn(1), drawn(1))
    assert not np.array_equal(drawn(1), drawn(2))


def test_named_ids_are_sources_and_unknown_ones_are_refused() -> None:
    assert named_ids(AGEING) == {VENTRICLE, CAUDATE, CORTEX, WHITE, FLUID, LESION}
    assert named_ids(AgeingConfig()) == set()
    typical = np.zeros(len(head_table().written), dtype=np.float32)
    with pytest.raises(ConfigError, match=r"found id 999, need ids of the label table"):
        Sources.of({999}, head_table(), typical)


def test_hidden_fluid_is_cortex_far_from_white_matter_alone() -> None:
    anatomy = np.asarray(SOURCES.index(head().data), dtype=np.int16)
    config = AGEING.model_copy(update={"hidden_share": 1.0, "hidden_beyond_mm": (4.0, 4.0)})
    seen = with_hidden_fluid(anatomy, SOURCES, SPACING_MM, config, generator_of(0, 0))
    changed = seen != anatomy
    assert changed.any()
    assert set(SOURCES.ids[anatomy[changed]].tolist()) <= set(AGEING.cortex)
    assert set(SOURCES.ids[seen[changed]].tolist()) == {AGEING.fluid}
    white = SOURCES.are(tuple(AGEING.cortex.values()))[anatomy]
    assert not (changed & ndimage.binary_dilation(white)).any()
    never = config.model_copy(update={"hidden_share": 0.0})
    assert with_hidden_fluid(anatomy, SOURCES, SPACING_MM, never, generator_of(0, 0)) is anatomy
