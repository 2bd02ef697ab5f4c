"""Whether a scan is to be read again without the bias field that its first reading shows."""

from __future__ import annotations

import numpy as np

from seg_prior.inference.bias_field import BiasField, without
from seg_prior.inference.prediction import Prediction

MAX_DRIFT, MAX_DRIFT_LEFT = 1.25, 1.15
"""Brightest by darkest place of one tissue that a first reading may have, and a further one."""
MAX_FIELDS = 2
"""That are divided out one after the other, so that a scan takes three readings at most."""


def drift_of(found: Prediction) -> BiasField | None:
    """The bias field that is worth another reading; None where there is none."""
    if len(found.divided) == MAX_FIELDS:
        return None
    limit = MAX_DRIFT_LEFT if found.divided else MAX_DRIFT
    field = found.bias_left
    return field if field is not None and field.ratio > limit else None


def evidence(found: Prediction) -> float:
    """log p(x) of the first image in its own unit, in nats a voxel of prior space.

    The ELBO is a density of n = (x exp(-b) - low) / (high - low), so log dn/dx = -b - log(high -
    low) is added, with b the bias field that was divided out, averaged over the anatomy. That makes
    readings of one scan comparable, with a field and without.
    """
    data, in_view = found.volume.data, found.registered.native_observed[0].numpy()
    index = found.voxels.index.cpu().numpy()
    even = without(data, found.divided) if found.divided else data
    low, high = np.percentile(even[in_view], [1, 99])
    voxels = [axis.astype(np.float64) for axis in np.unravel_index(index, data.shape)]
    log_slope = -np.log(high - low) - sum(
        float(field.log_at(voxels).mean()) for field in found.divided
    )
    weight = float(found.seen.observed[0, 0].sum())
    return (found.estimate.elbo + weight * float(log_slope)) / max(weight, 1.0)
