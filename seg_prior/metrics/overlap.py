"""How much of a label map and its reference is the same voxels: the Dice coefficient."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.freesurfer import MEAN17
from seg_prior.metrics.volumes import num_voxels_by_id


def dice_by_id(pred: NDArray[np.integer[Any]], ref: NDArray[np.integer[Any]]) -> dict[int, float]:
    """Dice coefficient 2 |P and R| / (|P| + |R|) of every id of either map, background left out.

    How absent labels count: an id that only the reference has scores 0, it was missed; an id that
    only the prediction has is nan, the reference cannot say whether it exists there at all; an id
    neither map has is no key.

    Args:
        pred, ref: Ids on one grid, of one shape.

    Returns:
        id -> Dice in [0, 1] or nan, in order of id.

    >>> dice_by_id(pred=np.array([1, 1, 2, 0]), ref=np.array([1, 2, 2, 2]))
    {1: 0.6666666666666666, 2: 0.5}
    """
    in_pred, in_ref = num_voxels_by_id(pred), num_voxels_by_id(ref)
    in_both = num_voxels_by_id(ref[pred == ref])
    return {
        id_: 2 * in_both.get(id_, 0) / (in_pred.get(id_, 0) + in_ref[id_])
        if id_ in in_ref
        else math.nan
        for id_ in sorted(in_pred.keys() | in_ref.keys())
    }


def dice_by_structure(dice: Mapping[int, float]) -> dict[str, float]:
    """Dice of each of the 17 structures: the mean over its sides, nan sides left out.

    Args:
        dice: As `dice_by_id` returns it, by FreeSurfer id; a missing id counts as nan.

    >>> dice_by_structure({17: 0.5, 53: 1.0})["hippocampus"]
    0.75
    """
    return {name: nan_mean(dice.get(id_, math.nan) for id_ in ids) for name, ids in MEAN17.items()}


def mean17(dice: Mapping[int, float]) -> float:
    """Mean Dice of the 17 structures, nan structures left out; nan where all are.

    Args:
        dice: As `dice_by_id` returns it, by FreeSurfer id.

    >>> mean17({17: 0.5, 53: 1.0, 16: 0.25})  # both hippocampi, and the brain stem
    0.5
    """
    return nan_mean(dice_by_structure(dice).values())


def nan_mean(values: Iterable[float]) -> float:
    """Mean of the values that are not nan; nan, without a warning, where there are none.

    >>> nan_mean([0.5, math.nan, 1.0]), nan_mean([])
    (0.75, nan)
    """
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
