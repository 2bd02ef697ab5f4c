"""What a reading measures of itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from seg_prior.inference.prediction import Prediction
from seg_prior.inference.uncertainty import log_volume

_MIN_VALUE = 1e-4  # logs of shares that are 0


class Measure(NamedTuple):
    """A figure that tells good readings from bad ones.

    Attributes:
        text: For people.
        bad: high, low, or both: where bad readings lie.
    """

    text: str
    bad: Literal["high", "low", "both"]


MEASURES = {
    "misfit": Measure("1 - Dice of the image's and the prior's outline", "high"),
    "mutual_information": Measure("nats that the image tells of the expected one", "low"),
    "elbo_gain": Measure("ELBO above one Gaussian for the whole image, nats a voxel", "low"),
    "mean_entropy": Measure("mean entropy of the posterior, nats", "high"),
    "out_of_view": Measure("share of the anatomy outside the field of view", "high"),
    "beyond_anatomy": Measure("share of the field of view without anatomy", "high"),
    "size": Measure("volume of the prior's anatomy, in the image's", "both"),
    "stretch": Measure("longest by shortest scale of the registration", "high"),
    "bias_field": Measure("brightest by darkest place of one tissue", "high"),
    "volume_deviation": Measure("root mean square z-score of the volumes", "high"),
}


class QcInput(NamedTuple):
    """What a verdict is made of; the same for every calibration.

    Attributes:
        measures: By name, those that could be taken.
        log_volumes: By label name, log posterior volume in mm^3 of structures.
        repeated: Share of neighbouring voxels of one value.
        doubts: Warnings of the registration.
        bias_field: Brightest by darkest place of a field within tissues, where one can be told.
    """

    measures: dict[str, float]
    log_volumes: dict[str, float]
    repeated: float
    doubts: Sequence[str]
    bias_field: float | None = None


def gather(result: Prediction) -> QcInput:
    """The evidence of one reading."""
    table = result.predictor.label_table
    volumes = zip(table.labels, result.soft_mm3, strict=True)
    return QcInput(
        measure(result),
        {label.name: log_volume(mm3) for label, mm3 in volumes if label.is_structure},
        repeated_values(result.volume.data, result.registered.native_observed[0].numpy()),
        result.registered.registration.warnings,
        None if result.bias_left is None else result.bias_left.ratio,
    )


def measure(result: Prediction) -> dict[str, float]:
    """Every measure but that of the volumes, by name.

    A whole head has no outline to compare, so no `misfit`.
    """
    estimate, registered = result.estimate, result.registered
    registration = registered.registration
    image, weight = result.seen.image[0], result.seen.observed[0]  # (H, V)
    num_observed = weight.sum(1).clamp_min(1)
    center = (image * weight).sum(1) / num_observed
    squares = ((image - center[:, None]).square() * weight).sum(1) / num_observed
    gaussian = -0.5 * (2 * math.pi * math.e * squares.clamp_min(1e-12)).log()
    gain = estimate.elbo - float((gaussian * num_observed).sum())
    outside = list(result.predictor.model.location.groups[0])
    anatomy = 1 - estimate.log_prior[0, outside].float().exp().sum(0)
    scales = np.linalg.svd(registration.prior_from_native[:3, :3], compute_uv=False)
    num_in_view = max(int(registered.native_observed[0].count_nonzero()), 1)
    found = {
        "misfit": 1 - registration.overlap,
        "mutual_information": registration.mutual_information,
        "elbo_gain": gain / float(num_observed.sum()),
        "mean_entropy": float(result.summary.entropy.mean(dtype=torch.float64)),
        "out_of_view": float((anatomy * (weight.amax(0) == 0)).sum() / anatomy.sum()),
        "beyond_anatomy": 1 - int(result.summary.best.count_nonzero()) / num_in_view,
        "size": float(np.prod(scales)),
        "stretch": float(scales[0] / scales[-1]),
    }
    return {name: value for name, value in found.items() if not math.isnan(value)}


def log_of(value: float) -> float:
    """The scale that measures are judged on: all are positive and skewed."""
    return math.log(max(value, _MIN_VALUE))


def volume_deviation(volume_z: dict[str, float]) -> float:
    """Root mean square of z-scores."""
    return float(np.sqrt(np.mean(np.square(list(volume_z.values())))))


def repeated_values(data: NDArray[np.generic], in_view: NDArray[np.bool_]) -> float:
    """Share of face-neighbouring voxels, both in view, that hold one value."""
    num_equal = num_pairs = 0
    for axis in range(3):
        before, after = (
            tuple(cut if other == axis else slice(None) for other in range(3))
            for cut in (slice(None, -1), slice(1, None))
        )
        is_pair = in_view[before] & in_view[after]
        num_pairs += int(is_pair.sum())
        num_equal += int((is_pair & (data[before] == data[after])).sum())
    return num_equal / max(num_pairs, 1)
