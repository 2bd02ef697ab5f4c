"""How sure a reading is: volumes with credible intervals, probabilities as good as their word."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_prior.checkpoints.calibration import VolumeError
from seg_prior.inference.refine import Observation
from seg_prior.models.likelihood import Intensities, class_log_likelihood
from seg_prior.models.location import LocationPrior

NUM_BINS = 15
"""Of confidence, for the calibration error."""
_TEMPERATURES = np.round(np.arange(0.5, 4.01, 0.05), 2)
_TINY = 1e-6  # confidences of exactly 1 are those of float32


def fit_volume_error(log_ratio: NDArray[np.float64], spread: NDArray[np.float64]) -> VolumeError:
    """Moments of the errors of one label.

    Args:
        log_ratio: (N,) log(true / posterior volume), N >= 2.
        spread: (N,) deviation of log volume over draws of z.
    """
    model_var = log_ratio.var(ddof=1) - np.square(spread).mean()
    return VolumeError(float(log_ratio.mean()), math.sqrt(max(0.0, float(model_var))))


def credible_interval(
    volume_mm3: float, spread: float, error: VolumeError, quantile: float
) -> tuple[float, float]:
    """Ends of the interval of a true volume, symmetric on the log scale.

    Args:
        volume_mm3: Posterior volume.
        spread: Deviation of its log over draws of z.
        error: Of the label.
        quantile: Half width, in deviations.
    """
    half_width = quantile * math.hypot(spread, error.sd)
    return (
        volume_mm3 * math.exp(error.bias - half_width),
        volume_mm3 * math.exp(error.bias + half_width),
    )


def log_volume(volume_mm3: float) -> float:
    """Its logarithm; that of next to nothing where there is nothing."""
    return math.log(max(volume_mm3, _TINY))


def log_volume_spread(
    decode: Callable[[Tensor], Tensor],
    seen: Observation,
    z: Tensor,
    log_var: Tensor,
    intensities: Intensities,
    location: LocationPrior,
    num_draws: int,
    seed: int,
) -> NDArray[np.float64]:
    """Deviation of each label's log posterior volume over draws of z from q(z | x).

    Args:
        decode: (1, K) -> (1, L, V) log f(z).
        seen: The image, on the V voxels of prior space.
        z, log_var: (1, K) of q.
        intensities: The image's Gaussians; held fixed.
        location: Which labels count as one.
        num_draws: At least 2.
        seed: Of the draws.

    Returns:
        (G,) groups.
    """
    rng = torch.Generator().manual_seed(seed)
    by_class = class_log_likelihood(seen.image, seen.observed, intensities)
    log_volumes = []
    for _ in range(num_draws):
        noise = torch.randn(z.shape, generator=rng).to(z.device)
        with torch.no_grad():
            # Not in place: the decoder of an atlas gives its location prior itself.
            joint = decode(z + torch.exp(log_var / 2) * noise)
            joint = joint + by_class[:, seen.classes.class_of_label]
            volume = torch.softmax(location.log_by_group(joint), dim=1)[0].sum(1)
        log_volumes.append(volume.clamp_min(_TINY).log().double().cpu().numpy())
    return np.asarray(np.std(log_volumes, axis=0, ddof=1))


def soften(confidence: Tensor, temperature: float) -> Tensor:
    """Probability of the best label with its log odds divided by a temperature."""
    confidence = confidence.clamp(_TINY, 1 - _TINY)
    return torch.sigmoid(torch.logit(confidence) / temperature)


def softened_probability(
    probability: Tensor, is_best: Tensor, confidence: Tensor, temperature: float
) -> Tensor:
    """(N,) a label's probability where that of the best label is softened.

    What the best label gives, the others share in proportion, so the order of labels stays. A
    temperature on all log probabilities would raise each of thirty labels that are nowhere near.

    Args:
        probability: (N,) of the label.
        is_best: (N,) bool, where it is the best.
        confidence: (N,) probability of the best label.
        temperature: 1 leaves everything as it is.
    """
    softened = soften(confidence, temperature)
    rest = (1 - softened) / (1 - confidence).clamp_min(_TINY)
    return torch.where(is_best, softened, (probability * rest).clamp_max(1.0))


def softened_entropy(entropy: Tensor, confidence: Tensor, temperature: float) -> Tensor:
    """(N,) entropy of what `softened_probability` gives, in nats.

    H = H2(c) + (1 - c) H(others), c the probability of the best label, H2 the entropy of a coin.
    """
    confidence = confidence.clamp(_TINY, 1 - _TINY)
    softened = soften(confidence, temperature)
    others = (entropy - _of_coin(confidence)).clamp_min(0) / (1 - confidence)
    return _of_coin(softened) + (1 - softened) * others


def calibration_error(confidence: NDArray[np.float64], is_right: NDArray[np.bool_]) -> float:
    """Expected calibration error over NUM_BINS bins of equal width.

    sum_b n_b / N |mean confidence in b - share of right labels in b|.
    """
    in_bin = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    gap = np.bincount(in_bin, confidence - is_right, minlength=NUM_BINS)
    return float(np.abs(gap).sum() / confidence.size)


def fit_temperature(confidence: NDArray[np.float64], is_right: NDArray[np.bool_]) -> float:
    """The temperature under which it is likeliest that the best labels are right where they are."""
    logit = torch.logit(torch.from_numpy(confidence).double().clamp(_TINY, 1 - _TINY))
    sign = torch.from_numpy(np.where(is_right, 1.0, -1.0))
    scores = [float(torch.nn.functional.logsigmoid(sign * logit / t).mean()) for t in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmax(scores))])


def _of_coin(probability: Tensor) -> Tensor:
    return -torch.xlogy(probability, probability) - torch.xlogy(1 - probability, 1 - probability)
