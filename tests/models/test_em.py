"""EM of the Gaussians against what images were painted with."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from seg_prior.models.em import (
    PRIOR_VOXELS,
    VAR_FLOOR,
    _floor,
    fit,
    fit_anew,
    start,
)
from seg_prior.models.likelihood import (
    Intensities,
    IntensityClasses,
    class_prior,
    log_density,
    responsibilities,
)
from seg_prior.models.location import LocationPrior
from tests.models import toy

TIED = replace(
    toy.CLASSES,
    ties=("background", "gray"),
    tie_of_class=torch.tensor([0, 1, 1]),
    tie_of_component=torch.tensor([0, 1, 1]),
)


def em(
    location: LocationPrior,
    image: Tensor,
    observed: Tensor | None = None,
    classes: IntensityClasses = toy.CLASSES,
    rounds: int = 30,
) -> Intensities:
    """EM under the location prior from the usual start."""
    seen = torch.ones_like(image) if observed is None else observed
    prior_of_class = class_prior(location.log_prob[None].to(image.dtype), classes)
    return fit(image, seen, prior_of_class, start(image, seen, prior_of_class, classes), rounds)


def test_start_has_weighted_moments_and_spreads_components() -> None:
    image = torch.tensor([[[0.0, 2.0, 10.0, 14.0, 1e3]]])
    observed = torch.tensor([[[1.0, 1.0, 1.0, 1.0, 0.0]]])
    prior_of_class = torch.tensor([[[1.0, 1.0, 0.0, 0.0, 0.5], [0.0, 0.0, 1.0, 1.0, 0.5]]])
    classes = toy.untied(("a", "b"), [0, 1], [0, 1, 1, 1])
    first = start(image, observed, prior_of_class, classes)
    spread = torch.tensor([[[1.0, 10.0, 12.0, 14.0]]])  # 12 +- one deviation of 2
    torch.testing.assert_close(first.mean, spread, atol=5e-3, rtol=0)
    torch.testing.assert_close(first.var, torch.tensor([[[1.0, 4, 4, 4]]]), atol=5e-3, rtol=0)
    weight = torch.tensor([[[1.0, 0, 0, 0], [0, 1 / 3, 1 / 3, 1 / 3]]])
    torch.testing.assert_close(first.log_weight.exp(), weight)


@pytest.mark.parametrize("means", [[0.1, 0.9, 0.5], [0.9, 0.1, 0.5], [0.5, 0.2, 0.9]])
def test_em_finds_what_the_image_was_painted_with(
    location: LocationPrior, means: list[float]
) -> None:
    fitted = em(location, toy.painted(location, torch.tensor(means)))
    assert fitted.mean[0, 0].tolist() == pytest.approx(means, abs=0.01)
    assert fitted.var[0, 0].sqrt().tolist() == pytest.approx([0.03] * 3, rel=0.25)


@pytest.mark.parametrize(("scale", "offset"), [(-1.0, 0.0), (1.0, 50.0), (200.0, 1000.0)])
def test_em_does_not_care_about_scale_sign_and_offset(
    location: LocationPrior, scale: float, offset: float
) -> None:
    image = toy.painted(location)
    plain, moved = em(location, image), em(location, scale * image + offset)
    torch.testing.assert_close(moved.mean, scale * plain.mean + offset, atol=5e-3, rtol=1e-5)
    torch.testing.assert_close(moved.var, scale**2 * plain.var, atol=1e-6, rtol=0.02)


def test_em_finds_the_gaussians_of_a_mixture(location: LocationPrior, rng: torch.Generator) -> None:
    labels = toy.inside(location, toy.label_map())
    image = toy.paint(labels)[None]
    is_bright = (labels == toy.CORE) & (torch.rand(labels.shape, generator=rng) < 0.25)
    image = torch.where(is_bright, image + 0.8, image)
    fitted = em(location, image, classes=toy.MIXED, rounds=60)
    inner = torch.stack([fitted.mean[0, 0, 4:], fitted.log_weight[0, 2, 4:].exp()], dim=1).tolist()
    assert min(inner) == pytest.approx([0.5, 0.75], abs=0.03)
    assert max(inner) == pytest.approx([1.3, 0.25], abs=0.03)
    weight = fitted.log_weight[0].exp()
    torch.testing.assert_close(weight.sum(1), torch.ones(3))
    assert (weight[~toy.MIXED.draws_from] == 0).all()


def test_tied_classes_share_gaussians_and_mix_them_in_their_own_way(
    location: LocationPrior, rng: torch.Generator
) -> None:
    """Outer and inner are gray, one mostly dark, one mostly bright."""
    labels = toy.inside(location, toy.label_map())
    bright_share = torch.where(labels == toy.CORE, 0.9, 0.2)
    is_bright = torch.rand(labels.shape, generator=rng) < bright_share
    image = torch.where(labels > 0, 0.5 + 0.3 * is_bright, 0.0)
    image = (image + 0.03 * torch.randn(labels.shape, generator=rng))[None]
    fitted = em(location, image, classes=TIED, rounds=60)
    assert fitted.mean[0, 0].tolist() == pytest.approx([0, 0.5, 0.8], abs=0.02)
    weight = fitted.log_weight[0].exp()
    assert weight[0].tolist() == pytest.approx([1, 0, 0])
    assert weight[1].tolist() == pytest.approx([0, 0.8, 0.2], abs=0.06)
    assert weight[2].tolist() == pytest.approx([0, 0.1, 0.9], abs=0.06)


def test_a_tied_class_that_is_nowhere_mixes_as_its_tie_does(
    location: LocationPrior, rng: torch.Generator
) -> None:
    image = toy.painted(location) + 0.1 * torch.randn(1, 1, location.voxels.numel(), generator=rng)
    seen, prior = torch.ones_like(image), class_prior(location.log_prob[None], TIED)
    prior[:, 2] = 0
    fitted = fit(image, seen, prior, start(image, seen, prior, TIED), rounds=20)
    weight = fitted.log_weight[0].exp()
    torch.testing.assert_close(weight[1], weight[2], atol=0.01, rtol=0)


def test_em_never_loses_likelihood(location: LocationPrior) -> None:
    """What rises is the log likelihood with its conjugate prior, round after round."""
    image = toy.painted(location).double()
    seen = torch.ones_like(image)
    prior_of_class = class_prior(location.log_prob[None].double(), toy.MIXED)
    typical_var = float(image.var(correction=0)) / 16
    fitted = start(image, seen, prior_of_class, toy.MIXED)
    trace = []
    for _ in range(40):
        fitted = fit(image, seen, prior_of_class, fitted, rounds=1)
        prior = torch.einsum("bcm,bcv->bmv", fitted.log_weight.exp(), prior_of_class)
        log_joint = log_density(image, seen, fitted) + prior.log()
        penalty = (PRIOR_VOXELS / 2 * (fitted.var.log() + typical_var / fitted.var)).sum()
        weights = fitted.log_weight[0, toy.MIXED.draws_from].sum()  # Dirichlet(2, 2, ...)
        trace.append(float(torch.logsumexp(log_joint, 1).sum() - penalty + weights))
    assert all(after >= before - 1e-9 for before, after in pairwise(trace))
    assert trace[-1] > trace[0] + 1


@pytest.mark.parametrize("classes", [toy.CLASSES, toy.MIXED])
def test_a_class_without_voxels_stays_finite_and_wide(
    location: LocationPrior, classes: IntensityClasses
) -> None:
    labels = toy.inside(location, toy.label_map())
    observed = (labels != toy.CORE).float()[None]  # the core is out of the field of view
    image = toy.paint(labels)[None]
    fitted = em(location, image, observed, classes)
    log_weight = fitted.log_weight[:, classes.draws_from]
    for values in (fitted.mean, fitted.var, log_weight):
        assert torch.isfinite(values).all()
    assert (fitted.var > VAR_FLOOR * image.var()).all()


def test_a_constant_image_stays_finite(location: LocationPrior) -> None:
    fitted = em(location, torch.full((1, 1, location.voxels.numel()), 0.3))
    assert fitted.mean[0, 0].tolist() == pytest.approx([0.3] * 3)
    assert (fitted.var > 0).all()
    assert torch.isfinite(fitted.var).all()


def test_an_image_without_field_of_view_stays_finite(location: LocationPrior) -> None:
    image = toy.painted(location)
    fitted = em(location, image, torch.zeros_like(image))
    assert torch.isfinite(fitted.mean).all()
    assert (fitted.var > 0).all()


def test_unobserved_voxels_have_no_say_in_em(location: LocationPrior, rng: torch.Generator) -> None:
    image = toy.painted(location)
    observed = (torch.rand(image.shape, generator=rng) < 0.7).float()
    plain = em(location, image, observed)
    garbage = em(location, torch.where(observed > 0, image, 1e3), observed)
    torch.testing.assert_close(garbage.mean, plain.mean)
    torch.testing.assert_close(garbage.var, plain.var)


def test_images_of_a_batch_are_fitted_apart(location: LocationPrior) -> None:
    images = torch.cat(
        [toy.painted(location), toy.painted(location, torch.tensor([0.9, 0.4, 0.2]))]
    )
    prior_of_class = class_prior(location.log_prob[None].expand(2, -1, -1), toy.CLASSES)
    seen = torch.ones_like(images)
    both = fit(images, seen, prior_of_class, start(images, seen, prior_of_class, toy.CLASSES), 10)
    for n in range(2):
        alone = em(location, images[n : n + 1], rounds=10)
        torch.testing.assert_close(both.mean[n : n + 1], alone.mean)
        torch.testing.assert_close(both.var[n : n + 1], alone.var)


def test_sharpened_shares_keep_mixed_tissue_from_widening_two_ties() -> None:
    """A third of the voxels are anything between two tissues, and the prior halves them."""
    noise = 0.1 * torch.randn(900, generator=torch.Generator().manual_seed(0))
    pure, between = torch.tensor([0.0, 1.0]).repeat_interleave(300), torch.linspace(0, 1, 300)
    image = (torch.cat([pure, between]) + noise)[None, None]
    of_second = torch.cat([pure.clamp(0.05, 0.95), torch.full((300,), 0.5)])
    prior_of_class = torch.stack([1 - of_second, of_second])[None]
    classes, seen = toy.untied(("a", "b"), [0, 1], [0, 1]), torch.ones_like(image)

    def separation(sharpness: float) -> float:
        fitted = fit_anew(image, seen, prior_of_class, classes, 30, sharpness)
        (first, second), sd = fitted.mean[0, 0], fitted.var[0, 0].sqrt()
        return float((second - first) / sd.sum())

    soft, sharp, sharper = (separation(sharpness) for sharpness in (1.0, 1.5, 3.0))
    assert soft + 0.01 < sharp < sharper - 0.01


def test_sharpened_shares_leave_mixtures_of_one_tie_as_they_are(location: LocationPrior) -> None:
    """Only what ties share is sharpened, not what the Gaussians of one share."""
    image = toy.painted(location)
    seen = torch.ones_like(image)
    certain = torch.ones(1, 1, image.shape[2])
    classes = toy.untied(("a",), [0], [0, 0, 0])
    soft, sharp = (fit_anew(image, seen, certain, classes, 20, n) for n in (1.0, 3.0))
    torch.testing.assert_close(sharp.mean, soft.mean)
    torch.testing.assert_close(sharp.var, soft.var)


def test_no_rounds_leave_the_start_as_it_is(location: LocationPrior) -> None:
    first = toy.gaussians([0.1, 0.9, 0.5], [0.02, 0.01, 0.03])
    image = toy.painted(location)
    prior_of_class = class_prior(location.log_prob[None], toy.CLASSES)
    fitted = fit(image, torch.ones_like(image), prior_of_class, first, rounds=0)
    torch.testing.assert_close(fitted.mean, first.mean)
    assert torch.equal(fitted.var, first.var)


def test_em_reads_a_stripped_image_as_stripped(location: LocationPrior) -> None:
    """Background is as dark as the shell: voxels at the rim are the shell's, their mean as well."""
    means = torch.tensor([0.3, 0.3, 0.8])
    image = toy.painted(location, means)
    observed = (toy.inside(location, toy.label_map()) > 0).float()[None]
    found = {
        is_stripped: em(location, image, observed, replace(toy.CLASSES, is_stripped=is_stripped))
        for is_stripped in (False, True)
    }
    background = {
        is_stripped: responsibilities(location.log_prob[None], image, observed, fitted)[:, 0]
        for is_stripped, fitted in found.items()
    }
    seen = observed[:, 0] > 0
    assert background[True][seen].sum() < 0.3 * background[False][seen].sum()


def test_moments_are_those_of_the_observed_voxels() -> None:
    image = torch.tensor([[[1.0, 3.0, 1e3]]])
    floor = _floor(image, torch.tensor([[[1.0, 1.0, 0.0]]]))
    assert float(floor) == pytest.approx(VAR_FLOOR)


def test_a_class_of_one_value_keeps_the_smallest_variance() -> None:
    """Where so many voxels agree, the floor has to hold what the prior cannot."""
    labels = torch.arange(60_000) % 2
    image = labels[None, None].float()
    certain = torch.stack([1 - labels, labels])[None].float().clamp(1e-4, 1 - 1e-4)
    classes = toy.untied(("a", "b"), [0, 1], [0, 1])
    seen = torch.ones_like(image)
    fitted = fit(image, seen, certain, start(image, seen, certain, classes), rounds=20)
    floor = VAR_FLOOR * image.var(correction=0)
    torch.testing.assert_close(fitted.var, floor.expand(1, 1, 2), rtol=1e-3, atol=0)
