"""Linear priors: the atlas, and principal components that are what they say."""

import pytest
import torch
from torch import Tensor

from seg_prior.errors import ConfigError
from seg_prior.models.cells import of_cells
from seg_prior.models.label_vae import one_hot
from seg_prior.models.linear import (
    LinearPrior,
    _log_share,
    fit_atlas,
    fit_components,
)
from seg_prior.models.location import LocationPrior
from seg_prior.models.objective import log_prob_of_labels
from tests.models import toy

NUM_MAPS = 6


@pytest.fixture
def maps(location: LocationPrior) -> Tensor:
    """(6, V) label indices."""
    return torch.cat([toy.inside(location, labels) for labels in toy.label_maps()])


@pytest.fixture
def soft(maps: Tensor) -> Tensor:
    return one_hot(maps, toy.NUM_LABELS)


def fitted(location: LocationPrior, soft: Tensor, num_components: int) -> LinearPrior:
    return fit_components(location, list(soft), num_components)


def test_without_components_it_is_the_atlas(location: LocationPrior, soft: Tensor) -> None:
    atlas = fit_atlas(location)
    mean, log_var = atlas.encode(soft[:2])
    assert atlas.num_latents == 0
    assert mean.shape == log_var.shape == (2, 0)
    assert torch.equal(atlas.decode(mean), location.log_prob.expand(2, -1, -1))


def test_at_zero_it_is_the_location_prior(location: LocationPrior, soft: Tensor) -> None:
    prior = fitted(location, soft, 3)
    torch.testing.assert_close(prior.decode(torch.zeros(1, 3))[0], location.log_prob)


def test_components_are_orthogonal_and_sorted(location: LocationPrior, soft: Tensor) -> None:
    basis = fitted(location, soft, 5).basis.flatten(1)
    gram = basis @ basis.T
    sizes = gram.diagonal()
    assert (gram - torch.diag(sizes)).abs().max() < 1e-3 * sizes.max()
    assert (sizes[:-1] >= sizes[1:]).all()
    assert sizes[-1] > 0


def test_scores_of_training_maps_are_standardised(location: LocationPrior, soft: Tensor) -> None:
    scores, _ = fitted(location, soft, 5).encode(soft)
    torch.testing.assert_close(scores.mean(0), torch.zeros(5), atol=1e-3, rtol=0)
    covariance = scores.T @ scores / (NUM_MAPS - 1)
    torch.testing.assert_close(covariance, torch.eye(5), atol=1e-3, rtol=0)


def test_all_components_span_the_training_maps(location: LocationPrior, soft: Tensor) -> None:
    prior = fitted(location, soft, NUM_MAPS - 1)
    scores, _ = prior.encode(soft)
    back = prior.center + torch.einsum("bk,klc->blc", scores, prior.basis)
    torch.testing.assert_close(back, _log_share(soft), atol=2e-3, rtol=0)


def test_what_a_projection_leaves_is_orthogonal(location: LocationPrior, soft: Tensor) -> None:
    prior = fitted(location, soft[1:], 2)
    scores, _ = prior.encode(soft[:1])
    rest = _log_share(soft[:1]) - prior.center - torch.einsum("bk,klc->blc", scores, prior.basis)
    left = torch.einsum("blc,klc->bk", rest, prior.basis) / prior.basis.square().sum((1, 2))
    torch.testing.assert_close(left, torch.zeros(1, 2), atol=1e-4, rtol=0)


def test_reconstruction_of_a_training_map_improves_with_components(
    location: LocationPrior, soft: Tensor, maps: Tensor
) -> None:
    fits = []
    for num_components in (1, 3, 5):
        prior = fitted(location, soft, num_components)
        log_prior = prior.decode(prior.encode(soft)[0])
        fits.append(float(log_prob_of_labels(log_prior, maps).sum()))
    atlas = location.log_prob.expand(NUM_MAPS, -1, -1)
    fits.insert(0, float(log_prob_of_labels(atlas, maps).sum()))
    assert fits == sorted(fits)
    assert fits[3] > 0.6 * fits[0]  # log likelihoods are negative


def test_decoded_columns_are_normalised_and_subjects_apart(
    location: LocationPrior, soft: Tensor, rng: torch.Generator
) -> None:
    prior = fitted(location, soft, 4)
    z = torch.randn(3, 4, generator=rng)
    log_prior = prior.decode(z)
    torch.testing.assert_close(log_prior.exp().sum(1), torch.ones(3, location.voxels.numel()))
    torch.testing.assert_close(log_prior[1:2], prior.decode(z[1:2]))


def test_chosen_cells_are_decoded_as_in_the_whole(location: LocationPrior, soft: Tensor) -> None:
    cells = torch.tensor([3, 0])
    for prior in (fit_atlas(location), fit_components(location, soft, 3)):
        z = torch.ones(1, prior.num_latents)
        expected = of_cells(prior.decode(z), cells)
        torch.testing.assert_close(prior.decode(z, cells), expected)


def test_shares_of_a_cell_are_counted_over_its_own_eight_voxels() -> None:
    soft = torch.zeros(1, 2, 16)
    soft[0, 0, :8], soft[0, 1, 8:] = 1, 1
    soft[0, :, 8:10] = torch.tensor([[1.0], [0.0]])
    found = _log_share(soft)[0].exp() * 1.04 - 0.02
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.25], [0.0, 0.75]]))


def test_maps_may_come_one_at_a_time(location: LocationPrior, soft: Tensor) -> None:
    lazily = fit_components(location, (labels for labels in soft), 2)
    torch.testing.assert_close(lazily.basis, fitted(location, soft, 2).basis)


@pytest.mark.parametrize("num_components", [6, 19])
def test_more_components_than_maps_are_refused(
    location: LocationPrior, soft: Tensor, num_components: int
) -> None:
    with pytest.raises(ConfigError, match=f"found {num_components}, need at most 5, one less"):
        fitted(location, soft, num_components)
