"""A scan is read again without the bias field that it shows, as long as that explains it better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.volume import Volume
from seg_prior.errors import ImageError
from seg_prior.inference.bias_field import BiasField, without
from seg_prior.inference.prediction import Prediction, timed

MAX_DRIFT, MAX_DRIFT_LEFT = 1.25, 1.15
"""Brightest by darkest place of one tissue that a first reading may have, and a further one."""
MAX_FIELDS = 2
"""That are divided out one after the other, so that a scan takes three readings at most."""

_NUM_VOXELS = 1_000_000
"""Over which a field is averaged: a large scan has tens of millions, which would be gigabytes."""

P = TypeVar("P", bound=Prediction)


def read_evenly(volume: Volume, read: Callable[[Volume, tuple[BiasField, ...]], P]) -> P:
    """The reading of a scan that has the highest evidence, with its bias field or without.

    Args:
        volume: The scan.
        read: (scan, fields that it was divided by) -> its reading.

    Raises:
        ImageError: As `read` does at the first time.
    """
    even, found = volume, read(volume, ())
    while (drift := drift_of(found)) is not None:
        divided = (*found.divided, drift)
        with timed(found.seconds, "conform"):
            more_even = replace(volume, data=without(volume.data, divided))
        try:
            again = read(more_even, divided)
        except ImageError:  # aligned as it is, and not without a field: no bias field
            break
        if evidence(again, more_even.data) <= evidence(found, even.data):
            break
        even, found = more_even, again
    return found


def drift_of(found: Prediction) -> BiasField | None:
    """The bias field that is worth another reading; None where there is none."""
    if len(found.divided) == MAX_FIELDS:
        return None
    limit = MAX_DRIFT_LEFT if found.divided else MAX_DRIFT
    field = found.bias_left
    return field if field is not None and field.ratio > limit else None


def evidence(found: Prediction, even: NDArray[np.generic]) -> float:
    """log p(x) of the first image in its own unit, in nats a voxel of prior space.

    The ELBO is a density of n = (x exp(-b) - low) / (high - low), so log dn/dx = -b - log(high -
    low) is added, with b the bias field that was divided out, averaged over the anatomy. That makes
    readings of one scan comparable, with a field and without.

    Args:
        found: A reading.
        even: (I, J, K) x exp(-b), the intensities that were read.
    """
    in_view = found.registered.native_observed[0].numpy()
    index = found.voxels.index.cpu().numpy()
    index = index[:: index.size // _NUM_VOXELS + 1]
    low, high = np.percentile(even[in_view], [1, 99])
    voxels = [axis.astype(np.float64) for axis in np.unravel_index(index, even.shape)]
    log_slope = -np.log(high - low) - sum(
        float(field.log_at(voxels).mean()) for field in found.divided
    )
    weight = float(found.seen.observed[0, 0].sum())
    return (found.estimate.elbo + weight * float(log_slope)) / max(weight, 1.0)
