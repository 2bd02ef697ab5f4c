"""The bias field: how intensities of one tissue drift over a scan, from the labels read in it.

    log x_j = mu_class(s_j) + b(place_j) + noise,    b quadratic in the place

which is the multiplicative field of [VanLeemput1999], fitted by least squares to the scan's own
labels. A scan that drifts far is divided by exp(b) and read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NUM_VOXELS = 50_000
_MIN_VOXELS = 20_000
"""Of structures; smaller ones are mostly border, and partial volume looks like drift."""
_MIN_POSITIVE = 0.95
"""Of these, where intensities are a signal times a field; in CT they are not."""
_ROUNDS = 5


@dataclass(frozen=True, eq=False)
class BiasField:
    """A smooth factor on intensities, which does not change beyond the anatomy it was fitted to.

    Attributes:
        coefficients: (9,) of the quadratic monomials of the place.
        center, scale: (3,) voxels; a place is (voxel - center) / scale.
        low, high: (3,) first and last voxel of the anatomy along each axis.
        ratio: Brightest by darkest place, 99th by 1st percentile over the anatomy.
    """

    coefficients: Floats
    center: Floats
    scale: Floats
    low: Floats
    high: Floats
    ratio: float

    def log_at(self, voxels: Sequence[Floats]) -> Floats:
        """b at voxels.

        Args:
            voxels: Indices along each of three axes; arrays that broadcast.
        """
        limits = zip(voxels, self.low, self.high, self.center, self.scale, strict=True)
        places = [(np.clip(v, low, high) - mid) / by for v, low, high, mid, by in limits]
        total = np.zeros(np.broadcast_shapes(*(place.shape for place in places)))
        for factor, monomial in zip(self.coefficients, _monomials(places), strict=True):
            total += factor * monomial
        return total


def fit_bias_field(
    data: NDArray[np.generic],
    labels: NDArray[np.uint8],
    class_of_label: NDArray[np.integer],
    divided: BiasField | None = None,
) -> BiasField | None:
    """The field that a scan's structures show.

    Args:
        data: (I, J, K) intensities.
        labels: (I, J, K) indices of labels.
        class_of_label: (L,) their intensity classes, -1 of what is no structure.
        divided: A field that is not counted, since it has been divided out.

    Returns:
        None where too little is seen, and where intensities are below 0.
    """
    is_structure = class_of_label >= 0
    # Plane by plane: of a large scan every array of flat indices is larger than the scan.
    num_voxels = sum(int(np.count_nonzero(is_structure[plane])) for plane in labels)
    if num_voxels < _MIN_VOXELS:
        return None
    some = _every(num_voxels // _NUM_VOXELS + 1, labels, is_structure)
    values = data.reshape(-1)[some].astype(np.float64)
    is_positive = values > 0
    if is_positive.mean() < _MIN_POSITIVE:
        return None
    voxels = np.stack(np.unravel_index(some[is_positive], data.shape)).astype(np.float64)
    log_values = np.log(values[is_positive])
    if divided is not None:
        log_values -= divided.log_at(list(voxels))
    return fitted(log_values, voxels, class_of_label[labels.reshape(-1)[some[is_positive]]])


def _every(
    step: int, labels: NDArray[np.uint8], is_structure: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Flat indices of every so-manieth voxel of structures."""
    found, num_seen, size = [], 0, labels[0].size
    for n, plane in enumerate(labels):
        inside = np.flatnonzero(is_structure[plane])
        found.append(n * size + inside[-num_seen % step :: step])
        num_seen += inside.size
    return np.concatenate(found)


def fitted(log_values: Floats, voxels: Floats, classes: NDArray[np.integer]) -> BiasField:
    """Least squares with Cauchy weights, so that what lies in a wrong class counts little.

    Args:
        log_values: (N,) log intensities.
        voxels: (3, N), in any unit.
        classes: (N,), each with a mean of its own.
    """
    center, scale = voxels.mean(axis=1), np.maximum(voxels.std(axis=1), 1e-9)
    smooth = np.stack(_monomials((voxels - center[:, None]) / scale[:, None]), axis=1)
    design = np.hstack([smooth, classes[:, None] == np.unique(classes)])
    weight = np.ones(len(log_values))
    for _ in range(_ROUNDS):
        root = np.sqrt(weight)
        fit = np.linalg.lstsq(design * root[:, None], log_values * root, rcond=None)[0]
        rest = log_values - design @ fit
        spread = max(float(np.median(np.abs(rest))) / 0.6745, 1e-9)
        weight = 1 / (1 + (rest / (2 * spread)) ** 2)
    coefficients = fit[: smooth.shape[1]]
    lowest, highest = np.percentile(smooth @ coefficients, [1, 99])
    ratio = float(np.exp(highest - lowest))
    return BiasField(coefficients, center, scale, voxels.min(axis=1), voxels.max(axis=1), ratio)


def without(data: NDArray[np.generic], field: BiasField) -> NDArray[np.float32]:
    """(I, J, K) intensities, divided by a field."""
    out = np.empty(data.shape, dtype=np.float32)
    axes = [np.arange(n, dtype=np.float64) for n in data.shape]
    for plane, (values, place) in enumerate(zip(data, axes[0], strict=True)):
        voxels = (np.array(place), axes[1][:, None], axes[2][None])
        out[plane] = values * np.exp(-field.log_at(voxels))
    return out


def _monomials(places: Sequence[Floats] | Floats) -> list[Floats]:
    x, y, z = places
    return [x, y, z, x * x, y * y, z * z, x * y, x * z, y * z]
