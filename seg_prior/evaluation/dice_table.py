"""One label map scored in memory: Dice of the structures of a label table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.freesurfer import MEAN17
from seg_prior.core.labels import LabelTable
from seg_prior.metrics.overlap import dice_by_id, dice_by_structure, nan_mean

BRAIN_IDS = frozenset(id_ for ids in MEAN17.values() for id_ in ids)


def dice_of_structures(
    pred: NDArray[np.integer[Any]], ref: NDArray[np.integer[Any]], table: LabelTable
) -> dict[int, float]:
    """Dice of every structure of the table, by id; nan where the reference lacks it.

    Args:
        pred, ref: (I, J, K) label indices into the table, on one grid.
        table: Says which labels are structures.
    """
    dice = dice_by_id(table.ids[pred], table.ids[ref])
    return {label.id: dice.get(label.id, math.nan) for label in table.labels if label.is_structure}


def dice_by_name(dice: Mapping[int, float], table: LabelTable) -> dict[str, float]:
    """Dice by what is reported: the 17 structures of the brain, else each structure by its name."""
    if has_mean17(table):
        return dice_by_structure(dice)
    return {
        label.name: dice.get(label.id, math.nan) for label in table.labels if label.is_structure
    }


def mean_dice(dice: Mapping[int, float], table: LabelTable) -> float:
    """Mean over what `dice_by_name` reports: mean17 of a brain."""
    return nan_mean(dice_by_name(dice, table).values())


def has_mean17(table: LabelTable) -> bool:
    """Whether the table holds all structures of the brain benchmark."""
    return set(table.ids[table.is_structure].tolist()) >= BRAIN_IDS


def mean_sd_n(values: Iterable[float], digits: int = 3) -> str:
    """`0.735 ± 0.034 (12)`: mean, sample standard deviation and count of what is not nan."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "- (0)"
    sd = f"{statistics.stdev(known):.{digits}f}" if len(known) > 1 else "-"
    return f"{nan_mean(known):.{digits}f} ± {sd} ({len(known)})"
