"""Every term of the ELBO against numbers by hand, torch.distributions, or a sum over label maps."""

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from seg_prior.models.likelihood import Intensities, log_likelihood
from seg_prior.models.objective import (
    kl_to_standard_normal,
    log_prob_of_image,
    log_prob_of_labels,
)
from tests.models import toy

BATCH, VOXELS = 2, 50


def random_case(rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Intensities]:
    """logits, image, observed, intensities of two images."""
    logits = 2 * torch.randn(BATCH, toy.NUM_LABELS, VOXELS, generator=rng)
    image = torch.rand(BATCH, 1, VOXELS, generator=rng)
    observed = (torch.rand(BATCH, 1, VOXELS, generator=rng) < 0.8).float()
    one = toy.gaussians([0.1, 0.9, 0.5], [0.02, 0.01, 0.03])
    other = toy.gaussians([0.8, 0.2, 0.4], [0.05, 0.02, 0.01])
    mean, var = torch.cat([one.mean, other.mean]), torch.cat([one.var, other.var])
    return (
        logits,
        image,
        observed,
        Intensities(mean, var, torch.eye(3).log().expand(BATCH, -1, -1), toy.CLASSES),
    )


def normals(mean: Tensor, log_var: Tensor) -> Normal:
    return Normal(mean, torch.exp(log_var / 2))


def test_kl_of_the_standard_normal_to_itself_is_zero() -> None:
    zero = torch.zeros(2, 3)
    assert torch.equal(kl_to_standard_normal(zero, zero), zero)


def test_kl_by_numbers() -> None:
    # 1/2 (1 + 4 - 1 - log 4)
    kl = kl_to_standard_normal(torch.tensor([[1.0]]), torch.tensor([[math.log(4)]]))
    assert kl.item() == pytest.approx(2 - math.log(2))


def test_kl_to_standard_normal_is_that_of_torch_and_never_negative(rng: torch.Generator) -> None:
    mean, log_var = torch.randn(2, 4, 7, generator=rng)
    kl = kl_to_standard_normal(mean, log_var)
    standard = Normal(torch.zeros(4, 7), torch.ones(4, 7))
    torch.testing.assert_close(kl, kl_divergence(normals(mean, log_var), standard))
    assert kl.shape == (4, 7)
    assert (kl >= 0).all()


def test_log_prob_of_labels_by_hand() -> None:
    log_prior = torch.tensor([[[0.5, 0.25], [0.5, 0.75]], [[0.1, 0.2], [0.9, 0.8]]]).log()
    found = log_prob_of_labels(log_prior, torch.tensor([[0, 1], [1, 0]], dtype=torch.uint8))
    assert found.tolist() == pytest.approx([math.log(0.5 * 0.75), math.log(0.9 * 0.2)])


def test_exact_is_the_log_of_the_sum_over_all_label_maps(rng: torch.Generator) -> None:
    log_prior = torch.log_softmax(torch.randn(1, toy.NUM_LABELS, 3, generator=rng), dim=1)
    image, seen = torch.rand(1, 1, 3, generator=rng), torch.ones(1, 1, 3)
    intensities = toy.gaussians([0.1, 0.9, 0.5], [0.02, 0.01, 0.03])
    joint = (log_prior + log_likelihood(image, seen, intensities))[0]
    maps = itertools.product(range(toy.NUM_LABELS), repeat=3)
    each = torch.stack([sum((joint[s[v], v] for v in range(3)), torch.tensor(0.0)) for s in maps])
    found = log_prob_of_image(log_prior, image, seen, intensities, "exact")
    torch.testing.assert_close(found[0], torch.logsumexp(each, 0))


def test_exact_minus_jensen_is_the_divergence_of_prior_from_posterior(rng: torch.Generator) -> None:
    logits, image, observed, intensities = random_case(rng)
    log_prior = torch.log_softmax(logits, dim=1)
    exact = log_prob_of_image(log_prior, image, observed, intensities, "exact")
    jensen = log_prob_of_image(log_prior, image, observed, intensities, "jensen")
    everywhere = torch.ones_like(observed)
    log_prob = log_likelihood(image, everywhere, intensities)
    log_posterior = torch.log_softmax(log_prior + log_prob, dim=1)
    kl = (log_prior.exp() * (log_prior - log_posterior)).sum(1)
    torch.testing.assert_close(exact - jensen, (kl * observed[:, 0]).sum(1))
    assert (exact > jensen).all()


def test_exact_equals_jensen_where_the_prior_is_certain(rng: torch.Generator) -> None:
    _, image, observed, intensities = random_case(rng)
    labels = torch.randint(toy.NUM_LABELS, (BATCH, VOXELS), generator=rng)
    certain = torch.full((BATCH, toy.NUM_LABELS, VOXELS), -1e4).scatter_(1, labels[:, None], 0.0)
    exact = log_prob_of_image(certain, image, observed, intensities, "exact")
    jensen = log_prob_of_image(certain, image, observed, intensities, "jensen")
    torch.testing.assert_close(exact, jensen)


def test_gradient_of_exact_in_the_logits_is_posterior_minus_prior(rng: torch.Generator) -> None:
    logits, image, observed, intensities = random_case(rng)
    logits.requires_grad_()
    log_prior = torch.log_softmax(logits, dim=1)
    exact = log_prob_of_image(log_prior, image, observed, intensities, "exact").sum()
    (gradient,) = torch.autograd.grad(exact, logits)
    prior = torch.softmax(logits, dim=1)
    everywhere = torch.ones_like(observed)
    posterior = torch.softmax(logits + log_likelihood(image, everywhere, intensities), dim=1)
    torch.testing.assert_close(gradient, (posterior - prior) * observed)


@pytest.mark.parametrize("likelihood", ["exact", "jensen"])
def test_unobserved_voxels_have_no_say(likelihood: str, rng: torch.Generator) -> None:
    logits, image, observed, intensities = random_case(rng)
    log_prior = torch.log_softmax(logits, dim=1).requires_grad_()
    found = log_prob_of_image(log_prior, image, observed, intensities, likelihood)
    garbage = torch.where(observed > 0, image, 1e3)
    same = log_prob_of_image(log_prior, garbage, observed, intensities, likelihood)
    assert torch.equal(found, same)
    (gradient,) = torch.autograd.grad(same.sum(), log_prior)
    assert not gradient[(observed == 0).expand_as(gradient)].any()


@pytest.mark.parametrize("likelihood", ["exact", "jensen"])
def test_terms_are_sums_over_voxels_one_for_each_subject(
    likelihood: str, rng: torch.Generator
) -> None:
    logits, image, observed, intensities = random_case(rng)
    log_prior = torch.log_softmax(logits, dim=1)
    once = log_prob_of_image(log_prior, image, observed, intensities, likelihood)
    twice = log_prob_of_image(
        torch.cat([log_prior] * 2, dim=2),
        torch.cat([image] * 2, dim=2),
        torch.cat([observed] * 2, dim=2),
        intensities,
        likelihood,
    )
    torch.testing.assert_close(twice, 2 * once)
    assert once.shape == (BATCH,)
    alone = Intensities(
        intensities.mean[1:], intensities.var[1:], intensities.log_weight[1:], toy.CLASSES
    )
    second = log_prob_of_image(log_prior[1:], image[1:], observed[1:], alone, likelihood)
    torch.testing.assert_close(second, once[1:])
