"""Dice by hand, against brute force, and how absent labels count."""

import math
from pathlib import Path

import numpy as np
import pytest

from seg_prior.core.freesurfer import MEAN17
from seg_prior.io.label_tables import read_label_table
from seg_prior.metrics.overlap import (
    dice_by_id,
    dice_by_structure,
    mean17,
    nan_mean,
)

BRAIN_TABLE = Path(__file__).parents[2] / "configs" / "brain_labels.tsv"


def test_dice_by_hand() -> None:
    pred = np.array([1, 1, 2, 0])
    ref = np.array([1, 2, 2, 2])
    assert dice_by_id(pred, ref) == {1: 2 / 3, 2: 1 / 2}


def test_dice_equals_brute_force_also_for_ids_in_the_hundred_millions() -> None:
    rng = np.random.default_rng(0)
    ids = np.array([0, 3, 17, 502, 614454277], dtype=np.int32)
    pred, ref = rng.choice(ids, (9, 8, 7)), rng.choice(ids, (9, 8, 7))
    expected = {
        int(i): 2 * ((pred == i) & (ref == i)).sum() / ((pred == i).sum() + (ref == i).sum())
        for i in ids[1:]
    }
    assert dice_by_id(pred, ref) == pytest.approx(expected, rel=1e-12)


def test_absent_labels_count_as_documented() -> None:
    pred = np.array([0, 1, 1, 5])
    ref = np.array([0, 1, 7, 1])
    dice = dice_by_id(pred, ref)
    assert dice.keys() == {1, 5, 7}  # neither background nor an id of neither map
    assert dice[7] == 0.0  # missed
    assert math.isnan(dice[5])  # the reference lacks it


def test_empty_label_maps_have_no_dice() -> None:
    nothing = np.zeros((3, 3, 3), dtype=np.int32)
    assert dice_by_id(nothing, nothing) == {}


def test_permuting_ids_permutes_dice() -> None:
    rng = np.random.default_rng(1)
    pred, ref = rng.integers(0, 5, (2, 6, 6, 6))
    new_id = np.array([0, 40, 3, 99, 12])
    dice, permuted = dice_by_id(pred, ref), dice_by_id(new_id[pred], new_id[ref])
    assert permuted == {int(new_id[id_]): value for id_, value in dice.items()}


def test_mean17_averages_sides_before_structures() -> None:
    dice = {2: 0.8, 41: 0.6, 16: 0.9}
    assert dice_by_structure(dice)["cerebral white matter"] == pytest.approx(0.7)
    assert mean17(dice) == pytest.approx((0.7 + 0.9) / 2)


def test_mean17_leaves_out_nan_sides_and_other_ids() -> None:
    assert mean17({2: 0.8, 41: math.nan, 24: 0.1}) == pytest.approx(0.8)
    assert math.isnan(mean17({24: 0.1}))


def test_mean17_counts_a_missed_structure_as_zero() -> None:
    assert mean17({14: 0.0, 15: 1.0}) == 0.5


def test_mean17_names_17_structures_whose_sides_are_partners_in_the_brain_table() -> None:
    table = read_label_table(BRAIN_TABLE)
    position = {label.id: index for index, label in enumerate(table.labels)}
    assert len(MEAN17) == 17
    assert len({id_ for ids in MEAN17.values() for id_ in ids}) == 14 * 2 + 3
    for ids in MEAN17.values():
        left = table.labels[position[ids[0]]]
        assert left.partner_id == ids[-1]  # a midline structure is its own partner
        assert left.is_structure


def test_nan_mean_of_nothing_is_nan_without_a_warning() -> None:
    assert math.isnan(nan_mean([]))
    assert math.isnan(nan_mean([math.nan]))
    assert nan_mean([1.0, math.nan, 4.0]) == 2.5
