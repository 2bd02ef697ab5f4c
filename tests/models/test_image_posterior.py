"""The atlas posterior that an image enters as."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from seg_prior.models.image_posterior import posterior_through
from seg_prior.models.location import LocationPrior
from tests.models import toy


@pytest.fixture
def labels(location: LocationPrior) -> Tensor:
    """(1, V) an anatomy that is not the mean one."""
    return toy.inside(location, toy.label_map(1.08, 0.85, 0.8))


def test_it_is_nearer_to_the_anatomy_than_the_atlas(
    location: LocationPrior, labels: Tensor
) -> None:
    image = toy.paint(labels)[None]
    posterior = posterior_through(
        location.log_prob[None], image, torch.ones_like(image), toy.CLASSES
    )
    torch.testing.assert_close(posterior.sum(1), torch.ones_like(image[:, 0]))
    wrong = (posterior.argmax(1) != labels).float().mean()
    atlas_wrong = (location.log_prob.argmax(0) != labels).float().mean()
    assert wrong < 0.04
    assert wrong < 0.3 * atlas_wrong


@pytest.mark.parametrize(("scale", "offset"), [(-1.0, 1.0), (300.0, 0.0), (1.0, 20.0)])
@pytest.mark.parametrize("components", [(0, 1, 2), (0, 0, 0, 1, 2)])
def test_it_does_not_depend_on_scale_sign_and_offset(
    location: LocationPrior,
    labels: Tensor,
    scale: float,
    offset: float,
    components: tuple[int, ...],
) -> None:
    classes = replace(toy.CLASSES, tie_of_component=torch.tensor(components))
    image = toy.paint(labels)[None]
    seen = torch.ones_like(image)
    plain = posterior_through(location.log_prob[None], image, seen, classes)
    other = posterior_through(location.log_prob[None], scale * image + offset, seen, classes)
    assert (plain - other).abs().max() < 0.05
    assert (plain - other).abs().mean() < 1e-3


def test_unobserved_voxels_keep_the_location_prior(location: LocationPrior, labels: Tensor) -> None:
    image = toy.paint(labels)[None]
    observed = (torch.arange(image.shape[2]) % 7 > 1).float()[None, None]
    garbage = torch.where(observed > 0, image, 100.0)
    posterior = posterior_through(location.log_prob[None], garbage, observed, toy.CLASSES)
    hidden = (observed == 0)[0, 0]
    torch.testing.assert_close(posterior[0][:, hidden], location.log_prob.exp()[:, hidden])
    torch.testing.assert_close(
        posterior, posterior_through(location.log_prob[None], image, observed, toy.CLASSES)
    )


def test_images_of_a_batch_are_read_apart(location: LocationPrior, labels: Tensor) -> None:
    images = torch.stack([toy.paint(labels), toy.paint(labels, 1 - toy.MEANS, seed=1)])
    seen = torch.ones_like(images)
    both = posterior_through(location.log_prob[None], images, seen, toy.CLASSES)
    alone = posterior_through(location.log_prob[None], images[1:], seen[1:], toy.CLASSES)
    torch.testing.assert_close(both[1:], alone)
