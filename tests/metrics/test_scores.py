"""Scores of one subject and their spread over subjects, by hand."""

import math

import numpy as np
import pytest

from seg_prior.core.grid import Grid
from seg_prior.metrics.scores import (
    ALL,
    Score,
    score_label_maps,
    summarise,
)

NAMES = {1: "hit", 2: "missed", 3: "extra", 4: "nowhere"}
GRID = Grid((5, 5, 5), np.diag([1.0, 2.0, 3.0, 1.0]))


def label_maps() -> tuple[np.ndarray, np.ndarray]:
    pred, ref = np.zeros((2, 5, 5, 5), dtype=np.int32)
    pred[1, 1, 1:4], ref[1, 1, 1:3] = 1, 1
    ref[3, 3, 3], pred[4, 4, 4] = 2, 3
    return pred, ref


def test_every_cell_of_a_hit_a_miss_an_extra_and_an_absent_structure() -> None:
    nan = math.nan
    expected = [
        # dice, hd95, mean distance, volume error, volume, reference volume
        (4 / 5, 2.7, 3 / 5, 6.0, 18.0, 12.0),
        (0.0, nan, nan, -6.0, 0.0, 6.0),
        (nan, nan, nan, nan, 6.0, nan),
        (nan, nan, nan, nan, nan, nan),
    ]
    scores = score_label_maps("sub-1", label_maps(), GRID, NAMES)
    assert [score[:3] for score in scores] == [("sub-1", *item) for item in NAMES.items()]
    for score, row in zip(scores, expected, strict=True):
        assert score[3:] == pytest.approx(row, nan_ok=True)
    assert [score.is_missed for score in scores] == [False, True, False, False]


def test_without_surfaces_only_the_distances_change() -> None:
    with_surface = score_label_maps("sub-1", label_maps(), GRID, NAMES)[0]
    without = score_label_maps("sub-1", label_maps(), GRID, NAMES, surface=False)[0]
    assert math.isnan(without.hd95_mm)
    assert math.isnan(without.mean_surface_distance_mm)
    assert without.dice == with_surface.dice
    assert without[6:] == with_surface[6:]


def score(subject: str, id_: int, dice: float, error_mm3: float = 0.0) -> Score:
    return Score(subject, id_, f"label-{id_}", dice, math.nan, math.nan, error_mm3, 1.0, 1.0)


def test_summary_by_hand() -> None:
    scores = [score("a", 9, 0.5, 3), score("a", 2, 0.7, 1), score("b", 2, 0.9, -2)]
    scores.append(score("b", 9, math.nan, math.nan))
    two, nine, overall = summarise(scores)
    assert [two.name, nine.name, overall.name] == ["label-2", "label-9", ALL]
    assert two.dice == pytest.approx((0.8, math.sqrt(0.02), 2))
    assert two.volume_error_mm3 == pytest.approx((-0.5, math.sqrt(4.5), 2))
    assert nine.dice == pytest.approx((0.5, math.nan, 1), nan_ok=True)
    # Subject a has mean 0.6 over two structures, b 0.9 over the one it has.
    assert overall.dice == pytest.approx((0.75, math.sqrt(0.045), 2))
    assert overall.volume_error_mm3.n == 0
    assert two.hd95_mm.n == 0
    assert math.isnan(two.hd95_mm.mean)
