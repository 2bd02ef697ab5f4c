"""How far intensities of one tissue drift over a scan, from the label map that was made of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_prior.inference.prediction import Prediction

Floats = NDArray[np.float64]

_NUM_VOXELS = 50_000
_MIN_VOXELS = 20_000
"""Of structures; smaller ones are mostly border, and partial volume looks like drift."""
_MIN_POSITIVE = 0.95
"""Of these, where intensities are a signal times a field; in CT they are not."""
_ROUNDS = 5


def bias_field(result: Prediction) -> float | None:
    """Brightest by darkest place of the smooth field that the scan's structures show.

    The first contrast alone. None where too little is seen, where N4 has divided the field out, and
    where intensities are below 0.
    """
    if result.predictor.config.n4:
        return None
    table = result.predictor.label_table
    index, best = result.voxels.index.cpu().numpy(), result.summary.best.cpu().numpy()
    chosen = np.flatnonzero(table.is_structure[best])
    if chosen.size < _MIN_VOXELS:
        return None
    chosen = chosen[:: chosen.size // _NUM_VOXELS + 1]
    where = index[chosen]
    values = result.volume.data.reshape(-1)[where].astype(np.float64)
    is_positive = values > 0
    if is_positive.mean() < _MIN_POSITIVE:
        return None
    places = np.stack(np.unravel_index(where, result.volume.grid.shape), axis=1).astype(np.float64)
    classes = np.array(table.classes()[1])[best[chosen]]
    return field_ratio(np.log(values[is_positive]), places[is_positive], classes[is_positive])


def field_ratio(log_values: Floats, places: Floats, classes: NDArray[np.integer]) -> float:
    """exp of the range, 1st to 99th percentile, of a quadratic drift within classes.

    Least squares with Cauchy weights, so that what lies in a wrong class counts little.

    Args:
        log_values: (N,) log intensities.
        places: (N, 3), in any unit.
        classes: (N,), each with a mean of its own.
    """
    x, y, z = ((places - places.mean(axis=0)) / np.maximum(places.std(axis=0), 1e-9)).T
    smooth = np.stack([x, y, z, x * x, y * y, z * z, x * y, x * z, y * z], axis=1)
    design = np.hstack([smooth, classes[:, None] == np.unique(classes)])
    weight = np.ones(len(log_values))
    for _ in range(_ROUNDS):
        root = np.sqrt(weight)
        fit = np.linalg.lstsq(design * root[:, None], log_values * root, rcond=None)[0]
        rest = log_values - design @ fit
        spread = max(float(np.median(np.abs(rest))) / 0.6745, 1e-9)
        weight = 1 / (1 + (rest / (2 * spread)) ** 2)
    low, high = np.percentile(smooth @ fit[:9], [1, 99])
    return float(np.exp(high - low))
