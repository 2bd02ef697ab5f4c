"""The Gaussians: densities against torch.distributions, posteriors, ties, several contrasts."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal

from seg_prior.config.intensity import IntensityConfig
from seg_prior.errors import LabelsError
from seg_prior.models.em import PRIOR_VOXELS, fit, start
from seg_prior.models.image_posterior import posterior_through
from seg_prior.models.likelihood import (
    LOG_LEFT,
    LOG_OUTLIER,
    Intensities,
    channel_weight,
    class_log_likelihood,
    class_prior,
    intensity_classes,
    log_density,
    log_likelihood,
    responsibilities,
)
from seg_prior.models.location import LocationPrior
from tests.models import toy

# The first cannot tell outer from inner, the second not background from outer.
FIRST = torch.tensor([0.1, 0.9, 0.9])
SECOND = torch.tensor([0.3, 0.3, 0.8])


def test_log_density_is_that_of_torch(rng: torch.Generator) -> None:
    image = torch.randn(2, 1, 9, generator=rng)
    mean, var = torch.randn(2, 1, 3, generator=rng), torch.rand(2, 1, 3, generator=rng) + 0.1
    intensities = Intensities(mean, var, torch.eye(3).log().expand(2, -1, -1), toy.CLASSES)
    found = log_density(image, torch.ones_like(image), intensities)
    normal = Normal(mean[:, 0, :, None], var.sqrt()[:, 0, :, None])
    expected = normal.log_prob(image)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, expected)
    assert found.shape == (2, 3, 9)


def test_a_class_of_several_gaussians_is_a_mixture(rng: torch.Generator) -> None:
    image = torch.randn(1, 1, 40, generator=rng)
    mean, var = torch.randn(1, 1, 6, generator=rng), torch.rand(1, 1, 6, generator=rng) + 0.1
    weight = torch.tensor([0.2, 0.5, 0.3, 1.0, 0.6, 0.4])
    mixed = Intensities(mean, var, (weight * toy.MIXED.draws_from).log()[None], toy.MIXED)
    found = class_log_likelihood(image, torch.ones_like(image), mixed)[0]
    span = (mean + 2 * var.sqrt()).max() - (mean - 2 * var.sqrt()).min()
    outlier = LOG_OUTLIER - span.log()
    for c, members in enumerate(([0, 1, 2], [3], [4, 5])):
        parts = Normal(mean[0, 0, members], var[0, 0, members].sqrt())
        mixture = MixtureSameFamily(Categorical(weight[members]), parts)
        expected = mixture.log_prob(image[0, 0])  # type: ignore[no-untyped-call]
        torch.testing.assert_close(found[c], torch.logaddexp(expected, outlier))


def test_labels_of_one_class_share_their_density(rng: torch.Generator) -> None:
    image = torch.rand(1, 1, 7, generator=rng)
    seen = torch.ones_like(image)
    intensities = toy.gaussians([0.1, 0.9, 0.5], [0.02, 0.01, 0.03])
    by_label = log_likelihood(image, seen, intensities)
    by_class = class_log_likelihood(image, seen, intensities)
    assert by_label.shape == (1, toy.NUM_LABELS, 7)
    for label, c in enumerate(toy.CLASSES.class_of_label.tolist()):
        assert torch.equal(by_label[:, label], by_class[:, c])


def test_the_density_keeps_its_variance_term() -> None:
    # Both Gaussians are at their mean: the narrow one is likelier by log(sd ratio).
    image, seen = torch.full((1, 1, 1), 0.5), torch.ones(1, 1, 1)
    log_prob = log_density(image, seen, toy.gaussians([0.5, 0.5, 0.5], [0.01, 1.0, 1.0]))
    assert float(log_prob[0, 0, 0] - log_prob[0, 1, 0]) == pytest.approx(math.log(10))


def test_class_prior_adds_the_labels_of_a_class(location: LocationPrior) -> None:
    found = class_prior(location.log_prob[None], toy.CLASSES)[0]
    probability = location.log_prob.exp()
    torch.testing.assert_close(found[1], probability[[1, 3, 4]].sum(0))
    torch.testing.assert_close(found.sum(0), torch.ones_like(found[0]))


def test_responsibilities_are_the_posterior_and_the_prior_where_nothing_is_seen(
    location: LocationPrior,
) -> None:
    image = toy.painted(location)
    observed = torch.ones_like(image)
    observed[..., ::3] = 0
    intensities = toy.gaussians(toy.MEANS.tolist(), [0.0009] * 3)
    r = responsibilities(location.log_prob[None], image, observed, intensities)
    torch.testing.assert_close(r.sum(1), torch.ones_like(image[:, 0]))
    torch.testing.assert_close(r[0, :, ::3], location.log_prob.exp()[:, ::3])
    likelihood_alone = log_likelihood(image, torch.ones_like(image), intensities)[0].exp()
    joint = location.log_prob.exp() * likelihood_alone
    torch.testing.assert_close(r[0, :, 1::3], (joint / joint.sum(0))[:, 1::3])


def test_what_no_gaussian_expects_is_left_to_the_prior(location: LocationPrior) -> None:
    """A lesion ten deviations from its own tissue is not the widest Gaussian's."""
    intensities = toy.gaussians([0.1, 0.9, 0.5], [0.01, 0.0004, 0.0004])
    image = torch.full((1, 1, location.voxels.numel()), 0.7)
    r = responsibilities(location.log_prob[None], image, torch.ones_like(image), intensities)
    torch.testing.assert_close(r[0], location.log_prob.exp(), atol=1e-4, rtol=1e-3)


def test_background_is_hardly_in_view_of_a_stripped_image(location: LocationPrior) -> None:
    image = toy.painted(location)
    observed = torch.ones_like(image)
    observed[..., ::3] = 0
    whole = toy.gaussians(toy.MEANS.tolist(), [0.0009] * 3)
    stripped = replace(whole, classes=replace(toy.CLASSES, is_stripped=True))
    change = class_log_likelihood(image, observed, stripped)
    change -= class_log_likelihood(image, observed, whole)
    assert torch.equal(change[0, 1:], torch.zeros_like(change[0, 1:]))
    torch.testing.assert_close(change[0, 0], torch.where(observed[0, 0] > 0, LOG_LEFT, 0.0))


def test_classes_follow_ties_and_components() -> None:
    config = IntensityConfig(ties={"tissue": ["inner", "outer"]}, components={"tissue": 2})
    classes = intensity_classes(toy.table(), config)
    assert classes.names == toy.CLASSES.names
    assert classes.class_of_label.tolist() == toy.CLASSES.class_of_label.tolist()
    assert classes.ties == ("background", "tissue")
    assert classes.tie_of_class.tolist() == [0, 1, 1]
    assert classes.tie_of_component.tolist() == [0, 1, 1]
    assert classes.draws_from.tolist() == [[True, False, False]] + 2 * [[False, True, True]]


def test_components_of_an_unknown_class_are_refused() -> None:
    with pytest.raises(LabelsError, match="components: found class 'bone', need one of b"):
        intensity_classes(toy.table(), IntensityConfig(components={"bone": 2}))


def test_moving_classes_keeps_what_they_say() -> None:
    moved = toy.MIXED.to("cpu")
    assert moved.names == toy.MIXED.names
    assert torch.equal(moved.tie_of_component, toy.MIXED.tie_of_component)


@pytest.fixture
def labels(location: LocationPrior) -> Tensor:
    """(1, V) an anatomy that is not the mean one."""
    return toy.inside(location, toy.label_map(1.08, 0.85, 0.8))


def painted(labels: Tensor, *means: Tensor) -> Tensor:
    """(1, H, V) image, one channel for each row of means."""
    return torch.stack([toy.paint(labels[0], m, seed=n) for n, m in enumerate(means)])[None]


def random_gaussians(num_channels: int, rng: torch.Generator) -> Intensities:
    """Two images, three classes."""
    mean = torch.randn(2, num_channels, 3, generator=rng)
    var = torch.rand(2, num_channels, 3, generator=rng) + 0.1
    return Intensities(mean, var, torch.eye(3).log().expand(2, -1, -1), toy.CLASSES)


def of_channels(intensities: Intensities, channels: list[int]) -> Intensities:
    """What the Gaussians say of some channels."""
    mean, var = intensities.mean[:, channels], intensities.var[:, channels]
    return Intensities(mean, var, intensities.log_weight, intensities.classes)


def em(location: LocationPrior, image: Tensor, observed: Tensor, rounds: int = 30) -> Intensities:
    """EM under the location prior from the usual start."""
    prior_of_class = class_prior(location.log_prob[None].to(image.dtype), toy.CLASSES)
    first = start(image, observed, prior_of_class, toy.CLASSES)
    return fit(image, observed, prior_of_class, first, rounds)


def test_the_density_of_channels_is_a_diagonal_normal_of_torch(rng: torch.Generator) -> None:
    image, intensities = torch.randn(2, 3, 9, generator=rng), random_gaussians(3, rng)
    found = log_density(image, torch.ones_like(image), intensities)
    x = image.transpose(1, 2)  # (B, V, H)
    for m in range(3):
        normal = MultivariateNormal(
            intensities.mean[:, None, :, m], torch.diag_embed(intensities.var[:, None, :, m])
        )
        expected = normal.log_prob(x)  # type: ignore[no-untyped-call]
        torch.testing.assert_close(found[:, m], expected)


def test_a_channel_that_is_not_observed_at_a_voxel_says_nothing_there(
    rng: torch.Generator,
) -> None:
    image, intensities = torch.randn(2, 2, 40, generator=rng), random_gaussians(2, rng)
    observed = (torch.rand(2, 2, 40, generator=rng) < 0.6).float()
    found = log_density(torch.where(observed > 0, image, 1e3), observed, intensities)
    both, neither = observed.amin(1) > 0, observed.amax(1) == 0
    assert both.any()
    assert neither.any()
    alone = [
        log_density(image[:, [h]], torch.ones(2, 1, 40), of_channels(intensities, [h]))
        for h in (0, 1)
    ]
    expected = alone[0] * observed[:, :1] + alone[1] * observed[:, 1:]
    torch.testing.assert_close(found, expected)
    assert not class_log_likelihood(image, observed, intensities).transpose(1, 2)[neither].any()


def test_channels_weigh_what_one_weighs_where_it_is_alone() -> None:
    observed = torch.tensor([[[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]]])
    half = math.sqrt(0.5)
    expected = torch.tensor([[[half, 1.0, 0.0, 0.0], [half, 0.0, 1.0, 0.0]]])
    torch.testing.assert_close(channel_weight(observed), expected)
    alone = observed[:, :1]
    assert torch.equal(channel_weight(alone), alone)


def test_em_on_two_channels_finds_what_both_were_painted_with(
    location: LocationPrior, labels: Tensor
) -> None:
    image = painted(labels, FIRST, SECOND)
    fitted = em(location, image, torch.ones_like(image))
    for h, means in enumerate((FIRST, SECOND)):
        assert fitted.mean[0, h].tolist() == pytest.approx(means.tolist(), abs=0.01)
        assert fitted.var[0, h].sqrt().tolist() == pytest.approx([0.03] * 3, rel=0.25)


def test_em_with_a_channel_that_nobody_observed_is_em_without_it(
    location: LocationPrior, labels: Tensor
) -> None:
    image = painted(labels, toy.MEANS, SECOND)
    observed = torch.ones_like(image)
    observed[:, 1] = 0
    both, alone = em(location, image, observed), em(location, image[:, :1], observed[:, :1])
    torch.testing.assert_close(both.mean[:, :1], alone.mean)
    torch.testing.assert_close(both.var[:, :1], alone.var)
    torch.testing.assert_close(both.log_weight, alone.log_weight)
    assert torch.isfinite(both.mean).all()


@pytest.mark.parametrize("is_weighted", [False, True])
def test_em_on_channels_with_gaps_never_loses_likelihood(
    location: LocationPrior, labels: Tensor, rng: torch.Generator, is_weighted: bool
) -> None:
    """What rises is the log likelihood with its conjugate prior, round after round."""
    image = painted(labels, FIRST, SECOND).double()
    is_seen = torch.rand(image.shape, generator=rng) < 0.7
    observed = channel_weight(is_seen.double()) if is_weighted else is_seen.double()
    prior_of_class = class_prior(location.log_prob[None].double(), toy.CLASSES)
    count = observed.sum(2, keepdim=True)
    center = (observed * image).sum(2, keepdim=True) / count
    typical_var = (observed * (image - center).square()).sum(2, keepdim=True) / count / 16
    fitted = start(image, observed, prior_of_class, toy.CLASSES)
    trace = []
    for _ in range(40):
        fitted = fit(image, observed, prior_of_class, fitted, rounds=1)
        log_joint = log_density(image, observed, fitted) + prior_of_class.log()
        penalty = (PRIOR_VOXELS / 2 * (fitted.var.log() + typical_var / fitted.var)).sum()
        trace.append(float(torch.logsumexp(log_joint, 1).sum() - penalty))
    assert all(after >= before - 1e-9 for before, after in pairwise(trace))
    assert trace[-1] > trace[0] + 1


def test_two_contrasts_separate_what_neither_separates_alone(
    location: LocationPrior, labels: Tensor
) -> None:
    image = painted(labels, FIRST, SECOND)
    seen = torch.ones_like(image)

    def wrong(channels: list[int]) -> float:
        some, some_seen = image[:, channels], seen[:, channels]
        read = posterior_through(location.log_prob[None], some, some_seen, toy.CLASSES)
        return float((read.argmax(1) != labels).float().mean())

    first, second, both = wrong([0]), wrong([1]), wrong([0, 1])
    assert both < 0.04
    assert both < 0.6 * min(first, second)


def test_the_order_of_contrasts_does_not_matter(location: LocationPrior, labels: Tensor) -> None:
    image = painted(labels, FIRST, SECOND, toy.MEANS)
    observed = torch.ones_like(image)
    observed[:, 1, ::4] = 0
    order = [2, 0, 1]
    plain, turned = em(location, image, observed), em(location, image[:, order], observed[:, order])
    torch.testing.assert_close(turned.mean, plain.mean[:, order], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(turned.var, plain.var[:, order], atol=1e-5, rtol=1e-3)
