"""Densities of z: normalised, drawn as they say, and N(0, I) where nothing was fitted."""

import math

import pytest
import torch

from seg_prior.models.density import Density, standard_normal

NUM_LATENTS, NUM_COARSE = 5, 4


@pytest.fixture
def bimodal() -> Density:
    """Two narrow humps along a slanting direction of the coarse part, off centre in all of z."""
    direction = torch.tensor([[1.0], [1.0], [0.0], [0.0]]) / math.sqrt(2)
    return Density(
        torch.arange(NUM_LATENTS) / 10,
        torch.linspace(0.6, 1.4, NUM_LATENTS),
        direction,
        torch.tensor([0.25, 0.75]).log(),
        torch.tensor([[-1.5], [0.5]]),
        torch.tensor([[0.5], [0.3]]),
    )


def drawn(density: Density, num: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.cat(
        [density.led(density.independent(NUM_LATENTS, generator), generator) for _ in range(num)]
    )


def test_unfitted_it_is_the_standard_normal(rng: torch.Generator) -> None:
    z = torch.randn(3, NUM_LATENTS, generator=rng)
    density = standard_normal()
    assert density.is_standard
    assert torch.equal(density.log_prob(z), -0.5 * z.square().sum(1))
    first = torch.randn(1, NUM_LATENTS, generator=torch.Generator().manual_seed(1))
    assert torch.equal(drawn(density, 1), first)


def test_of_an_atlas_it_is_a_point_mass() -> None:
    assert standard_normal().log_prob(torch.zeros(2, 0)).tolist() == [0, 0]


def test_a_mixture_integrates_to_one(bimodal: Density, rng: torch.Generator) -> None:
    z = 2 * torch.randn(40_000, NUM_LATENTS, generator=rng)
    log_normal = -0.5 * (z / 2).square().sum(1) - NUM_LATENTS * math.log(2)
    weight = (bimodal.log_prob(z) - log_normal).exp()
    error = float(weight.std()) / math.sqrt(len(weight))
    assert error < 0.05
    assert abs(float(weight.mean()) - 1) < 4 * error


def test_draws_follow_the_mixture_along_its_direction_and_are_normal_elsewhere(
    bimodal: Density,
) -> None:
    u = (drawn(bimodal, 4000) - bimodal.center) / bimodal.scale
    along = (u[:, :NUM_COARSE] @ bimodal.directions)[:, 0]
    assert float((along < -0.4).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float(along[along > -0.2].std()) == pytest.approx(0.3, abs=0.02)
    across = torch.stack([(u[:, 0] - u[:, 1]) / math.sqrt(2), *u[:, 2:].T])
    torch.testing.assert_close(torch.cov(across), torch.eye(4), atol=0.1, rtol=0)
    torch.testing.assert_close(across.mean(1), torch.zeros(4), atol=0.06, rtol=0)


def test_led_along_its_direction_z_stays_as_it_is_across(
    bimodal: Density, rng: torch.Generator
) -> None:
    z = torch.randn(1, NUM_LATENTS, generator=rng)
    moved = (bimodal.led(z, rng) - z) / bimodal.scale
    along = moved[:, :NUM_COARSE] @ bimodal.directions
    assert along.abs() > 0.01
    torch.testing.assert_close(moved[:, :NUM_COARSE], along @ bimodal.directions.T)
    assert not moved[:, NUM_COARSE:].any()


def test_its_mean_log_density_is_that_of_its_draws(bimodal: Density) -> None:
    """Draws of a density are likelier under it than under any other: here, than under N(0, I)."""
    z = drawn(bimodal, 500)
    assert bimodal.log_prob(z).mean() > standard_normal().log_prob(z).mean() + 0.8


def test_components_that_do_not_fit_its_directions_are_refused() -> None:
    zero = torch.zeros(())
    with pytest.raises(ValueError, match="2 components do not fit"):
        Density(zero, zero, torch.zeros(4, 1), torch.zeros(2), torch.zeros(2, 3), torch.ones(2, 3))
