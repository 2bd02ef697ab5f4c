"""The field of the coarse part: the covariance it has, and that it is found again in codes."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from seg_prior.models.coarse_field import CoarseField, fit_coarse_field, gain_of_left_out

SHAPE = (2, 3, 4, 2)
NUM = math.prod(SHAPE)


@pytest.fixture
def field(rng: torch.Generator) -> CoarseField:
    """Neighbours along each axis go together, each axis by more or less, and the whole along two
    directions; off centre."""
    field = CoarseField(SHAPE, num_directions=2)
    field.directions.copy_(0.4 * torch.randn(2, NUM, generator=rng))
    field.center.copy_(torch.linspace(-1, 1, NUM))
    field.scale.copy_(torch.linspace(0.5, 2, NUM))
    for factor, share in zip(field.factors, (-0.4, 0.8, 0.6, 0.3), strict=True):
        index = torch.arange(len(factor))
        away = (index[:, None] - index[None]).abs()
        factor.copy_(torch.linalg.cholesky(torch.tensor(share) ** away))
    return field


def covariance(field: CoarseField) -> Tensor:
    whole = torch.eye(NUM) + field.directions.T @ field.directions
    root = torch.ones(1, 1)
    for factor in field.factors:
        root = torch.kron(root, factor)
    return field.scale[:, None] * (root @ whole @ root.T) * field.scale


def drawn(field: CoarseField, num: int, rng: torch.Generator) -> Tensor:
    return field.draw(torch.randn(num, field.num_noise, generator=rng))


def test_unfitted_it_is_the_standard_normal(rng: torch.Generator) -> None:
    noise = torch.randn(3, NUM, generator=rng)
    field = CoarseField(SHAPE)
    assert torch.equal(field.draw(noise), noise)
    torch.testing.assert_close(field.log_prob(noise), -0.5 * noise.square().sum(1))


def test_its_density_is_that_of_torch(field: CoarseField, rng: torch.Generator) -> None:
    coarse = 2 * torch.randn(5, NUM, generator=rng)
    full = MultivariateNormal(field.center, covariance(field)).log_prob(coarse)
    shared = -NUM / 2 * math.log(2 * math.pi)
    torch.testing.assert_close(field.log_prob(coarse), full - shared, rtol=1e-4, atol=1e-3)


def test_draws_have_its_covariance(field: CoarseField, rng: torch.Generator) -> None:
    found = drawn(field, 20_000, rng)
    torch.testing.assert_close(found.mean(0), field.center, atol=0.06, rtol=0)
    torch.testing.assert_close(torch.cov(found.T), covariance(field), atol=0.2, rtol=0)


def test_a_fit_finds_the_covariance_again(field: CoarseField, rng: torch.Generator) -> None:
    field.directions.zero_()
    found = fit_coarse_field(drawn(field, 800, rng), SHAPE)
    torch.testing.assert_close(covariance(found), covariance(field), atol=0.7, rtol=0)
    new = drawn(field, 400, rng)
    lost = float((field.log_prob(new) - found.log_prob(new)).mean())
    alone = CoarseField(SHAPE)
    alone.center.copy_(field.center)
    alone.scale.copy_(field.scale)
    assert 0 < lost < 0.15 * float((field.log_prob(new) - alone.log_prob(new)).mean())


def test_each_number_varies_as_it_does_in_codes(rng: torch.Generator) -> None:
    """A product of variances would give the quiet corner of an axis what its middle has."""
    lively = torch.ones(SHAPE)
    lively[:, 0, 0] = 0.05
    codes = (lively * torch.randn(40, *SHAPE, generator=rng).cumsum(3)).flatten(1)
    found = fit_coarse_field(codes, SHAPE)
    torch.testing.assert_close(covariance(found).diagonal().sqrt(), codes.std(0), rtol=0.01, atol=0)


def test_directions_are_those_in_which_whole_codes_differ(rng: torch.Generator) -> None:
    """A number that all blocks share, some up and some down, is no product of axes."""
    signs = torch.randint(0, 2, (NUM,), generator=rng) * 2.0 - 1
    codes = torch.randn(30, NUM, generator=rng) + 3 * torch.randn(30, 1, generator=rng) * signs
    new = torch.randn(50, NUM, generator=rng) + 3 * torch.randn(50, 1, generator=rng) * signs
    found = fit_coarse_field(codes, SHAPE)
    product = fit_coarse_field(codes, SHAPE)
    product.directions.zero_()
    assert float((found.log_prob(new) - product.log_prob(new)).mean()) > 3
    along, before = (drawn(one, 500, rng) @ signs / NUM for one in (found, product))
    assert float(along.std()) > 2 * float(before.std())


def test_of_two_maps_there_is_one_direction(rng: torch.Generator) -> None:
    found = fit_coarse_field(torch.randn(2, NUM, generator=rng), SHAPE)
    assert len(found.directions) == 1
    assert found.log_prob(drawn(found, 3, rng)).isfinite().all()


def test_few_people_teach_it(field: CoarseField, rng: torch.Generator) -> None:
    """Where numbers go together, people left out gain; where each is alone, they lose little."""
    people = [f"sub-{n}" for n in range(20)]
    assert gain_of_left_out(drawn(field, 20, rng), SHAPE, people) > 3
    alone = torch.randn(20, NUM, generator=rng)
    assert -2 < gain_of_left_out(alone, SHAPE, people) < 0.5


def test_maps_of_one_person_are_left_out_together(field: CoarseField, rng: torch.Generator) -> None:
    """Else the copy that stays in would tell of the one that is out."""
    once = drawn(field, 3, rng)
    people = ["sub-0", "sub-1", "sub-2"]
    together = gain_of_left_out(once.repeat(2, 1), SHAPE, 2 * people)
    apart = gain_of_left_out(once.repeat(2, 1), SHAPE, [f"sub-{n}" for n in range(6)])
    assert together < apart


def test_numbers_that_never_vary_are_drawn_nearly_so(rng: torch.Generator) -> None:
    codes = torch.randn(10, NUM, generator=rng)
    codes[:, 5] = 3
    found = drawn(fit_coarse_field(codes, SHAPE), 200, rng)
    assert float(found[:, 5].mean()) == pytest.approx(3, abs=0.1)
    assert 0 < float(found[:, 5].std()) < 0.2
