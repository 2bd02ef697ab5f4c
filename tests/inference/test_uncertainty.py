"""Intervals that cover what they say, and probabilities softened without changing sides."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from seg_prior.checkpoints.calibration import VolumeError
from seg_prior.inference.refine import Observation
from seg_prior.inference.uncertainty import (
    calibration_error,
    credible_interval,
    fit_temperature,
    fit_volume_error,
    log_volume_spread,
    soften,
    softened_entropy,
    softened_probability,
)
from seg_prior.models.likelihood import Intensities
from seg_prior.models.location import LocationPrior
from tests.models import toy

POINTS = arrays(np.float64, (7, 5), elements=st.floats(-6, 6))


def test_an_interval_known_by_hand() -> None:
    low, high = credible_interval(1000.0, 0.3, VolumeError(math.log(2), 0.4), 2.0)
    assert low == pytest.approx(2000 * math.exp(-1.0))
    assert high == pytest.approx(2000 * math.exp(1.0))


def test_what_draws_explain_is_not_counted_twice() -> None:
    log_ratio = np.array([-0.5, 0.5, -0.5, 0.5]) + 0.1
    error = fit_volume_error(log_ratio, np.full(4, 0.3))
    assert error.bias == pytest.approx(0.1)
    assert error.sd**2 + 0.3**2 == pytest.approx(log_ratio.var(ddof=1))
    assert fit_volume_error(log_ratio, np.full(4, 0.9)).sd == 0.0


def test_intervals_cover_what_they_say() -> None:
    rng = np.random.default_rng(0)
    error = fit_volume_error(rng.normal(0.2, 0.25, 4000), np.full(4000, 0.15))
    covered = []
    for log_ratio in rng.normal(0.2, 0.25, 2000):
        low, high = credible_interval(500.0, 0.15, error, 1.645)
        covered.append(low <= 500 * math.exp(log_ratio) <= high)
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)


def test_the_spread_of_volumes_is_that_of_the_draws() -> None:
    # Of two labels the first has share sigmoid(z), so log volume has a deviation one can compute.
    def decode(z: Tensor) -> Tensor:
        logits = torch.stack([z, torch.zeros_like(z)], dim=1)  # (1, 2, V): K = V
        return logits.log_softmax(1)

    num_voxels = 1
    classes = toy.untied(("one",), [0, 0], [0])
    seen = Observation(torch.zeros(1, 1, num_voxels), torch.ones(1, 1, num_voxels), classes)
    flat = Intensities(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), torch.zeros(1, 1, 1), classes)
    z, log_var = torch.zeros(1, 1), torch.full((1, 1), math.log(0.01))
    even, cells = torch.full((2, 8), 0.5).log(), torch.zeros(1, dtype=torch.long)
    each = LocationPrior(even, cells, (2, 2, 2))
    both = LocationPrior(even, cells, (2, 2, 2), ((0, 1),))
    spread = log_volume_spread(decode, seen, z, log_var, flat, each, 400, seed=0)
    assert spread == pytest.approx([0.05, 0.05], rel=0.15)  # d log sigmoid = 1/2 dz
    assert np.array_equal(
        spread, log_volume_spread(decode, seen, z, log_var, flat, each, 400, seed=0)
    )
    together = log_volume_spread(decode, seen, z, log_var, flat, both, 3, seed=0)
    assert together == pytest.approx([0], abs=1e-6)
    still = torch.full((1, 1), -80.0)
    assert log_volume_spread(decode, seen, z, still, flat, each, 3, seed=0).max() < 1e-6


@given(POINTS, st.floats(0.5, 4.0))
def test_softened_probabilities_sum_to_one_and_keep_their_order(
    logits: np.ndarray, temperature: float
) -> None:
    probability = torch.from_numpy(logits).softmax(0)
    confidence, best = probability.max(0)
    softened = torch.stack(
        [
            softened_probability(row, best == label, confidence, temperature)
            for label, row in enumerate(probability)
        ]
    )
    assert torch.allclose(softened.sum(0), torch.ones(5, dtype=softened.dtype), atol=1e-5)
    if temperature >= 1:
        top = softened.gather(0, best[None])[0]
        assert (top >= softened.max(0).values - 1e-9).all()
    entropy = -torch.xlogy(probability, probability).sum(0)
    expected = -torch.xlogy(softened, softened).sum(0)
    found = softened_entropy(entropy, confidence, temperature)
    assert torch.allclose(found, expected, atol=1e-3)


def test_temperature_one_changes_nothing() -> None:
    confidence = torch.tensor([0.3, 0.6, 0.99])
    assert torch.allclose(soften(confidence, 1.0), confidence, atol=1e-6)


def test_the_calibration_error_known_by_hand() -> None:
    confidence = np.array([0.9] * 10 + [0.6] * 10)
    is_right = np.array([True] * 9 + [False] + [True] * 4 + [False] * 6)
    assert calibration_error(confidence, is_right) == pytest.approx(0.5 * 0.0 + 0.5 * 0.2)


def test_the_temperature_of_overconfidence_is_found() -> None:
    rng = np.random.default_rng(1)
    true_odds = rng.uniform(-0.5, 3.0, 40_000)
    is_right = rng.random(true_odds.size) < 1 / (1 + np.exp(-true_odds))
    stated = 1 / (1 + np.exp(-1.8 * true_odds))
    temperature = fit_temperature(stated, is_right)
    assert temperature == pytest.approx(1.8, abs=0.1)
    softened = soften(torch.from_numpy(stated), temperature).numpy()
    assert calibration_error(softened, is_right) < 0.01 < calibration_error(stated, is_right)
