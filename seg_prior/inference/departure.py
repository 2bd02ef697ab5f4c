"""Where a scan departs from what the prior expects there, in standard deviations.

By Bayes, what is surprising of a voxel is what is surprising of its intensity and of its label,

    -log p(x | z) = sum_l r_l ( -log N(x; mu_l, var_l) ) + KL(r || f(z)),

so the intensity that f(z) alone expects holds both: mean and variance of the mixture of labels. At
a border f(z) leaves several labels open, the mixture is wide, and what lies between their
intensities surprises nobody. How far a scan departs is then compared with how far it usually does
where those labels are expected, so that cortex, which is drawn wrongly in many places, does not
drown white matter, which is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_prior.core.device import cpu_threads
from seg_prior.inference.posterior import log_priors
from seg_prior.inference.prediction import Prediction

Floats = NDArray[np.float32]

BIAS_SD_MM = 15.0
"""Of the Gaussian over which a scan is brighter or darker than expected by one factor."""
LESION_SD_MM, DRIFT_SD_MM = 1.0, 8.0
"""Of those that a departure is averaged by, and that what drifts slowly is taken away by."""
BORDER_SD_MM, BORDER_WEIGHT = 1.5, 3.0
"""Of that around a voxel over which expectations differ, and how much that widens its own."""
MIN_VOXELS = 50
"""Of a label, for moments of its own."""
THRESHOLD_SD = 3.5
"""Which a hundredth of the structures of synthetic brain scans without lesions is above."""
DEPARTURE_FIELDS = {
    "Units": "standard deviations of what is usual where the same labels are expected, above 0 "
    "where the scan is brighter than expected",
    "threshold": THRESHOLD_SD,
    "threshold_is": "of absolute values: what 1 % of the structures of synthetic brain scans "
    "without lesions is above",
}
_LEAST = 1e-6
_SD_OF_MAD = 1.4826


def departure_map(result: Prediction) -> Floats:
    """(H, I, J, K) how far each contrast departs from the prior, 0 outside the structures found.

    Above 0 where it is brighter than expected, below where darker. Memory grows with the scan, not
    with the number of its labels.
    """
    native = result.registered
    with cpu_threads(result.num_threads):
        place = _Place.of(result)
        found = []
        for image, seen in zip(native.native, native.native_observed, strict=True):
            here, is_seen = (each.numpy().ravel()[place.index] for each in (image, seen))
            found.append(place.whole(_of_contrast(place, here, is_seen)))
    return np.stack(found)


@dataclass(frozen=True, eq=False)
class _Place:
    """The N voxels that can hold anatomy, and what is expected there.

    Attributes:
        index: (N,) flat, into the scan.
        shape, spacing_mm: Of the scan.
        best: (N,) index of the label read.
        is_counted: (N,) bool, whether that is a structure.
        num_labels: G.
        expect: (G, C) a row for each label -> (N, C) its mean under f(z).
    """

    index: NDArray[np.int32]
    shape: tuple[int, int, int]
    spacing_mm: NDArray[np.float64]
    best: NDArray[np.uint8]
    is_counted: NDArray[np.bool_]
    num_labels: int
    expect: Callable[[Floats], Floats]

    @classmethod
    def of(cls, result: Prediction) -> _Place:
        """Of a result."""
        predictor, location = result.predictor, result.predictor.model.location
        rows, best = predictor.prior_rows(result.estimate), result.summary.best.cpu().numpy()

        def expect(of_label: Floats) -> Floats:
            priors = (
                location.log_by_group(log_prior[..., None])[..., 0]
                for _, log_prior in log_priors(rows, location, result.voxels)
            )
            return expectation(priors, torch.from_numpy(of_label).to(location.log_prob.device))

        return cls(
            result.voxels.index.cpu().numpy(),
            result.volume.grid.shape,
            result.volume.grid.spacing_mm,
            best,
            predictor.label_table.is_structure[best],
            len(predictor.label_table),
            expect,
        )

    def whole(self, values: NDArray[np.generic]) -> Floats:
        """(N,) -> (I, J, K), 0 elsewhere."""
        out = np.zeros(self.shape, np.float32)
        out.ravel()[self.index] = values
        return out

    def averaged(
        self, values: NDArray[np.floating], weight: NDArray[np.floating], sd_mm: float
    ) -> Floats:
        """(N,) Gaussian averages of (N,) values by weights."""
        from scipy import ndimage  # a fifth of a second and 15 MB, which few scans need

        sigma = sd_mm / self.spacing_mm
        total, share = (
            ndimage.gaussian_filter(self.whole(each), sigma, truncate=3).ravel()[self.index]
            for each in (values * weight, weight)
        )
        return np.asarray(total / np.maximum(share, _LEAST), np.float32)


def _of_contrast(place: _Place, image: Floats, is_seen: NDArray[np.bool_]) -> Floats:
    """(N,) signed departure of one contrast; 0 where it is not counted.

    Args:
        place: Where.
        image: (N,) normalised intensity.
        is_seen: (N,) bool.
    """
    counted = is_seen & place.is_counted
    if not counted.any():
        return np.zeros_like(image)
    flat = np.ones_like(image)
    expected, var = _usual(place, image, is_seen)
    # The factor b that lays x = b E through the scan by least squares, near every voxel.
    bias = place.averaged(
        image / np.maximum(expected, _LEAST), counted * expected**2 / var, BIAS_SD_MM
    )
    image = np.where(bias > 0, image / np.maximum(bias, _LEAST), image)
    expected, var = _usual(place, image, is_seen)
    near = place.averaged(expected, flat, BORDER_SD_MM)
    var += BORDER_WEIGHT * np.maximum(place.averaged(expected**2, flat, BORDER_SD_MM) - near**2, 0)
    weight = counted.astype(np.float32)
    departure = place.averaged((image - expected) / np.sqrt(var), weight, LESION_SD_MM)
    departure -= place.averaged(departure, weight, DRIFT_SD_MM)
    usual, var = _usual(place, departure, counted)
    return np.where(counted, (departure - usual) / np.sqrt(var), 0).astype(np.float32)


def _usual(place: _Place, values: Floats, is_used: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Mean and variance, (N,) each, of the mixture of what values are in the labels expected.

    Args:
        place: Where.
        values: (N,).
        is_used: (N,) bool, which of them tell what is usual.
    """
    middle, sd = label_moments(values[is_used], place.best[is_used], place.num_labels).T
    mean, square = place.expect(np.stack([middle, sd**2 + middle**2], axis=1)).T
    return mean, np.maximum(square - mean**2, _LEAST)


def expectation(log_priors: Iterator[Tensor], of_label: Tensor) -> Floats:
    """(G, C) values of labels -> (N, C) their means under f.

    Args:
        log_priors: (n, G) log f of one block of voxels after the other, up to a constant of each.
        of_label: The values.
    """
    means = [torch.softmax(rows, dim=1) @ of_label for rows in log_priors]
    return np.asarray(torch.cat(means).cpu().numpy())


def label_moments(values: Floats, label: NDArray[np.uint8], num_labels: int) -> Floats:
    """(G, 2) middle and deviation of the values of each label, by medians: lesions are no part.

    A label of few voxels has those of all values.
    """
    out = np.tile(_middle_and_sd(values), (num_labels, 1))
    for index in range(num_labels):
        own = values[label == index]
        if own.size >= MIN_VOXELS:
            out[index] = _middle_and_sd(own)
    return out


def _middle_and_sd(values: Floats) -> Floats:
    middle = np.median(values)
    sd = max(_SD_OF_MAD * float(np.median(np.abs(values - middle))), _LEAST**0.5)
    return np.array([middle, sd], np.float32)
