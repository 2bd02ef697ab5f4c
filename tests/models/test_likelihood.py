"""The Gaussians: densities against torch.distributions, posteriors, and ties of a table."""

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from seg_prior.config.intensity import IntensityConfig
from seg_prior.errors import LabelsError
from seg_prior.models.likelihood import (
    LOG_LEFT,
    LOG_OUTLIER,
    Intensities,
    class_log_likelihood,
    class_prior,
    intensity_classes,
    log_density,
    log_likelihood,
    responsibilities,
)
from seg_prior.models.location import LocationPrior
from tests.models import toy


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
