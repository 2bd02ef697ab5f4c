"""Densities of codes: what EM and kernels find, and that people left out decide how narrow."""

import math

import pytest
import torch
from torch import Tensor

from seg_prior.errors import ConfigError
from seg_prior.models.density_fit import (
    Codes,
    fit_density,
    gaussian_mixture,
    kernel_density,
    leading_directions,
)

NUM_PEOPLE, NUM_LATENTS, NUM_COARSE = 40, 12, 10


def two_humps(num: int, rng: torch.Generator) -> Tensor:
    """(N, 2) half around -3, half around 3 along the first axis."""
    w = torch.randn(num, 2, generator=rng) * torch.tensor([0.5, 1.0])
    w[::2, 0] -= 3
    w[1::2, 0] += 3
    return w


def codes(rng: torch.Generator, num: int = NUM_PEOPLE) -> Codes:
    """Two humps along a slanting direction of the coarse part; elsewhere narrow q of little."""
    z = 0.1 * torch.randn(num, NUM_LATENTS, generator=rng)
    humps = two_humps(num, rng)
    z[:, 0] += humps[:, 0] / math.sqrt(2)
    z[:, 1] += humps[:, 0] / math.sqrt(2)
    z[:, 2] += humps[:, 1]
    return Codes(z, z, [f"sub-{n}" for n in range(num)], NUM_COARSE)


def test_em_finds_two_humps(rng: torch.Generator) -> None:
    found = gaussian_mixture(two_humps(400, rng), 2)
    order = found.mean[:, 0].argsort()
    torch.testing.assert_close(found.mean[order, 0], torch.tensor([-3.0, 3.0]), atol=0.15, rtol=0)
    torch.testing.assert_close(found.sd, torch.tensor([[0.7, 1.0]] * 2), atol=0.25, rtol=0)
    torch.testing.assert_close(found.log_weight.exp(), torch.tensor([0.5, 0.5]), atol=0.05, rtol=0)


def test_em_never_gets_worse(rng: torch.Generator) -> None:
    w = two_humps(60, rng)
    fits = [float(gaussian_mixture(w, num).log_prob(w).mean()) for num in (1, 2)]
    assert fits[1] > fits[0] + 0.3


def test_of_one_component_the_mixture_is_the_normal_of_the_codes(rng: torch.Generator) -> None:
    w = two_humps(100, rng)
    found = gaussian_mixture(w, 1)
    torch.testing.assert_close(found.mean[0], w.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.sd[0], w.std(0, unbiased=False), atol=1e-4, rtol=1e-4)


def test_a_kernel_density_integrates_to_one_and_is_high_at_codes() -> None:
    w = torch.tensor([[-1.0], [0.0], [2.0]])
    found = kernel_density(w, 0.3)
    axis = torch.linspace(-8, 9, 4001)[:, None]
    density = found.log_prob(axis).exp() / math.sqrt(2 * math.pi)
    assert float(density.sum()) * 17 / 4000 == pytest.approx(1, abs=1e-3)
    assert found.log_prob(w).min() > found.log_prob(torch.tensor([[1.0]])).max()


def test_directions_that_lead_are_those_of_most_variance(rng: torch.Generator) -> None:
    led = codes(rng).mean[:, :NUM_COARSE]
    found = leading_directions(led, 3)
    torch.testing.assert_close(found.T @ found, torch.eye(3), atol=1e-5, rtol=0)
    slanting = float(found[:2, 0].sum().abs()) / math.sqrt(2)
    assert slanting > 0.98
    assert float(found[2, 1].abs()) > 0.98


@pytest.mark.parametrize("kind", ["mixture", "kde"])
def test_people_who_were_left_out_gain_and_others_like_them_too(
    kind: str, rng: torch.Generator
) -> None:
    density, told = fit_density(kind, codes(rng), is_standard=True)
    assert told["gain_nats"] > 1
    new = codes(rng, 100).drawn
    standard = -0.5 * new.square().sum(1)
    assert float((density.log_prob(new) - standard).mean()) > 1


def test_two_humps_are_two_components(rng: torch.Generator) -> None:
    _, told = fit_density("mixture", codes(rng), is_standard=True)
    assert told["components"] >= 2


def test_maps_of_one_person_are_left_out_together(rng: torch.Generator) -> None:
    """Where everybody is there twice, copies left in would make the narrowest kernel the best."""
    once = codes(rng, 12)
    twice = Codes(once.mean.repeat(2, 1), once.drawn.repeat(2, 1), 2 * once.people, NUM_COARSE)
    _, told = fit_density("kde", twice, is_standard=True)
    assert told["bandwidth"] > 0.15


def test_codes_that_lie_anywhere_get_mean_and_deviation(rng: torch.Generator) -> None:
    given = codes(rng)
    far = Codes(7 + 3 * given.mean, 7 + 3 * given.drawn, given.people, NUM_COARSE)
    density, told = fit_density("normal", far, is_standard=False)
    assert told == {}
    torch.testing.assert_close(density.center, far.mean.mean(0))
    assert float(density.scale[2]) == pytest.approx(float(far.mean[:, 2].std()))
    assert fit_density("normal", far, is_standard=True)[0].is_standard


def test_two_people_are_too_few_in_one_line(rng: torch.Generator) -> None:
    with pytest.raises(
        ConfigError, match="found label maps of 2 people, need at least 3 for a kde"
    ):
        fit_density("kde", codes(rng, 2), is_standard=True)
