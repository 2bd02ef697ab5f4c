"""What a synthetic scan shows: each view what it should, and its border where it should."""

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_prior.config.synthesis import SynthesisConfig, View
from seg_prior.synthesis.anatomies import generator_of
from seg_prior.synthesis.view import sample_view, size_mm
from tests.synthesis.toy_head import (
    AIR,
    FLUID,
    SKIN,
    SPACING_MM,
    head_grid,
    head_ids,
    head_sources,
)

SOURCES, IDS = head_sources(), head_ids()
ANATOMY = SOURCES.index(IDS)
STRUCTURES = SOURCES.is_structure[ANATOMY]


def seen(view: View, seed: int = 0, **more: float) -> NDArray[np.bool_]:
    config = SynthesisConfig(views={view: 1}, **more)
    in_view, name = sample_view(ANATOMY, SOURCES, head_grid(), config, generator_of(seed, 0))
    assert name == view
    return in_view


def test_the_size_is_the_cube_root_of_the_structures() -> None:
    assert size_mm(ANATOMY, SOURCES, SPACING_MM) == pytest.approx(
        (STRUCTURES.sum() * SPACING_MM**3) ** (1 / 3)
    )


def test_whole_shows_all() -> None:
    assert seen("whole").all()


def test_zeroed_shows_the_head_and_no_air() -> None:
    in_view = seen("zeroed")
    assert in_view[IDS == SKIN].mean() > 0.8
    assert in_view[IDS == AIR].mean() < 0.05
    assert in_view[STRUCTURES].all()


def test_stripping_leaves_less_and_less() -> None:
    inside, tight = seen("inside"), seen("tight")
    assert inside[IDS == FLUID].mean() > 0.5 > tight[IDS == FLUID].mean()
    for in_view in (inside, tight, seen("rim")):
        assert in_view[IDS == SKIN].mean() < 0.3
        assert not in_view[IDS == AIR].any()
        assert in_view[STRUCTURES].mean() > 0.85


def test_a_ragged_border_strays_to_both_sides() -> None:
    smooth, ragged = seen("inside", 1), seen("inside", 1, max_raggedness=0.5, border_sd_mm=3.0)
    assert (ragged & ~smooth).any()
    assert (smooth & ~ragged).any()


def test_the_face_is_in_front_and_below() -> None:
    cuts = [seen("zeroed", seed) & ~seen("faceless", seed) for seed in range(6)]
    gone = np.logical_or.reduce(cuts)
    _, y, z = (np.argwhere(gone) - (np.array(IDS.shape) - 1) / 2).T
    assert y.mean() > 0
    assert z.mean() < y.mean()
    assert not (gone & (np.arange(IDS.shape[1]) < 24)[None, :, None] & STRUCTURES).any()


def test_cut_fields_end_at_one_end_of_one_axis() -> None:
    cut = seen("whole", 2, cut_share=1.0, max_cut=0.4)
    lost = [~cut.any(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    assert sorted(bool(missing.any()) for missing in lost) == [False, False, True]
    [missing] = [np.asarray(m) for m in lost if m.any()]
    assert missing.mean() <= 0.4
    assert missing[0] != missing[-1]
