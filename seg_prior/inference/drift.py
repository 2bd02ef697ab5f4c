"""A scan is read again without the bias field that it shows, where that explains it better."""

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

MAX_DRIFT = 1.3
"""Brightest by darkest place of one tissue that is not worth another reading."""
MIN_GAIN = 0.09
"""Nats a voxel. A field that is fitted to what is no field, tissues that differ from region to
region, raises the evidence as well, but less, and the result is worse."""

_NUM_VOXELS = 1_000_000
"""Over which a field is averaged: a large scan has tens of millions, which would be gigabytes."""

P = TypeVar("P", bound=Prediction)


def read_evenly(volume: Volume, read: Callable[[Volume, BiasField | None], P]) -> P:
    """The reading of a scan with its bias field or without it, by their evidence.

    Args:
        volume: The scan.
        read: (scan, field that it was divided by) -> its reading.

    Raises:
        ImageError: As `read` does of the scan as it is.
    """
    found = read(volume, None)
    field = found.bias_left
    if field is None or field.ratio <= MAX_DRIFT:
        return found
    with timed(found.seconds, "conform"):
        even = replace(volume, data=without(volume.data, field))
    try:
        again = read(even, field)
    except ImageError:  # aligned as it is, and not without a field: no bias field
        return found
    gain = evidence(again, even.data) - evidence(found, volume.data)
    return again if gain > MIN_GAIN else found


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
    log_slope = -np.log(high - low)
    if found.divided is not None:
        log_slope -= found.divided.log_at(voxels).mean()
    weight = float(found.seen.observed[0, 0].sum())
    return (found.estimate.elbo + weight * float(log_slope)) / max(weight, 1.0)
