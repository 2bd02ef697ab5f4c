"""The climb: it rises, finds the anatomy it was given, and does not care how labels are called."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from seg_prior.config.inference import InferenceConfig
from seg_prior.config.intensity import IntensityConfig
from seg_prior.core.labels import LabelTable
from seg_prior.inference.posterior import find_native_voxels, log_joints, summarise
from seg_prior.inference.refine import (
    MapEstimate,
    Observation,
    refine_latent,
)
from seg_prior.models import em
from seg_prior.models.image_posterior import posterior_through
from seg_prior.models.label_vae import one_hot
from seg_prior.models.likelihood import class_prior, intensity_classes
from seg_prior.models.linear import LinearPrior, fit_atlas, fit_components
from seg_prior.models.location import LocationPrior, location_prior, rows_of_log_prior
from seg_prior.models.objective import log_prob_of_image
from tests.models import toy

Likelihoods = pytest.mark.parametrize("likelihood", ["exact", "jensen"])
QUICK = InferenceConfig(image_weight=1.0)


@pytest.fixture
def pca(location: LocationPrior) -> LinearPrior:
    soft = [one_hot(toy.inside(location, m), toy.NUM_LABELS)[0] for m in toy.label_maps()]
    return fit_components(location, soft, 4)


@pytest.fixture
def labels(location: LocationPrior) -> Tensor:
    """(1, V) an anatomy that no training map is."""
    return toy.inside(location, toy.label_map(1.06, 0.85, -0.7))


def observe(image: Tensor, observed: Tensor | None = None) -> Observation:
    """(1, V) image and field of view -> one channel of one subject."""
    seen = torch.ones_like(image) if observed is None else observed
    return Observation(image[None], seen[None], toy.CLASSES)


def wrong(estimate: MapEstimate, labels: Tensor) -> float:
    """Share of voxels that the prior alone mistakes."""
    return float((estimate.log_prior.argmax(1) != labels).float().mean())


@Likelihoods
def test_the_elbo_rises_and_the_prior_comes_nearer(
    pca: LinearPrior, location: LocationPrior, labels: Tensor, likelihood: str
) -> None:
    config = InferenceConfig(image_weight=1.0, likelihood=likelihood)
    seen = observe(toy.paint(labels, sd=0.1))
    found = refine_latent(pca.decode, pca.log_prob, seen, torch.zeros(1, 4), 40, config)
    assert len(found.trace) == 41
    assert found.trace[-1] > found.trace[0] + 10
    falls = sum(max(0.0, before - after) for before, after in pairwise(found.trace))
    assert falls < 0.1 * (max(found.trace) - found.trace[0])
    assert found.elbo == pytest.approx(found.trace[-1])
    prior = fit_atlas(location)
    atlas = refine_latent(prior.decode, prior.log_prob, seen, torch.zeros(1, 0), 40, config)
    assert wrong(found, labels) < 0.8 * wrong(atlas, labels)
    assert found.intensities.mean[0, 0].tolist() == pytest.approx(toy.MEANS.tolist(), abs=0.03)


@Likelihoods
def test_the_last_elbo_is_image_term_plus_log_prior_of_z(
    pca: LinearPrior, labels: Tensor, likelihood: str
) -> None:
    config = InferenceConfig(likelihood=likelihood)
    seen = observe(toy.paint(labels))
    found = refine_latent(pca.decode, pca.log_prob, seen, torch.zeros(1, 4), 5, config)
    term = log_prob_of_image(
        pca.decode(found.z), seen.image, seen.observed, found.intensities, likelihood
    )
    assert found.elbo == pytest.approx(float(term - 0.5 * found.z.square().sum()), rel=1e-6)
    torch.testing.assert_close(found.log_prior, pca.decode(found.z))


def test_a_tempered_climb_says_its_own_height_and_the_elbo(
    pca: LinearPrior, labels: Tensor
) -> None:
    seen = observe(toy.paint(labels, sd=0.1))
    light = InferenceConfig(image_weight=0.01)
    found = refine_latent(pca.decode, pca.log_prob, seen, torch.zeros(1, 4), 60, light)
    full = refine_latent(pca.decode, pca.log_prob, seen, torch.zeros(1, 4), 40, QUICK)
    log_prob_z = -0.5 * float(found.z.square().sum())
    assert found.trace[-1] == pytest.approx(0.01 * (found.elbo - log_prob_z) + log_prob_z)
    assert found.trace[-1] > found.trace[0]
    assert found.z.norm() < full.z.norm()  # the prior has more to say


def test_without_latent_it_is_em_under_the_atlas(location: LocationPrior, labels: Tensor) -> None:
    seen = observe(toy.paint(labels))
    prior = fit_atlas(location)
    found = refine_latent(prior.decode, prior.log_prob, seen, torch.zeros(1, 0), 40, QUICK)
    assert found.z.shape == (1, 0)
    assert len(found.trace) == 1
    assert torch.equal(found.log_prior[0], location.log_prob)
    prior_of_class = class_prior(location.log_prob[None], seen.classes)
    alone = em.fit_anew(seen.image, seen.observed, prior_of_class, seen.classes, 60)
    torch.testing.assert_close(found.intensities.mean, alone.mean, atol=2e-3, rtol=0)


def test_without_steps_z_stays_where_it_starts(pca: LinearPrior, labels: Tensor) -> None:
    start = torch.tensor([[0.5, -0.3, 0.2, 0.1]])
    seen = observe(toy.paint(labels))
    found = refine_latent(pca.decode, pca.log_prob, seen, start, 0, InferenceConfig())
    assert torch.equal(found.z, start)
    moved = refine_latent(pca.decode, pca.log_prob, seen, start, 2, InferenceConfig())
    assert not torch.equal(moved.z, start)
    assert start.tolist() == [pytest.approx([0.5, -0.3, 0.2, 0.1])]
    assert not moved.z.requires_grad
    assert not moved.log_prior.requires_grad


def test_z_is_found_again(pca: LinearPrior, rng: torch.Generator) -> None:
    """An image painted from a draw of the prior leads back to that draw."""
    truth = torch.tensor([[1.2, -0.8, 0.5, 0.3]])
    labels = torch.multinomial(pca.decode(truth)[0].exp().T, 1, generator=rng).T
    seen = observe(toy.paint(labels, sd=0.02))
    config = InferenceConfig(image_weight=1.0)
    found = refine_latent(pca.decode, pca.log_prob, seen, torch.zeros(1, 4), 100, config)
    assert found.z[0].tolist() == pytest.approx(truth[0].tolist(), abs=0.5)
    truth_term = log_prob_of_image(
        pca.decode(truth), seen.image, seen.observed, found.intensities, "exact"
    )
    assert found.elbo >= float(truth_term - 0.5 * truth.square().sum()) - 1


def test_unobserved_voxels_have_no_say(pca: LinearPrior, labels: Tensor) -> None:
    image = toy.paint(labels)
    observed = (torch.arange(image.shape[1]) % 5 > 0).float()[None]
    garbage = torch.where(observed > 0, image, 50.0)
    config = InferenceConfig()
    plain = refine_latent(
        pca.decode, pca.log_prob, observe(image, observed), torch.zeros(1, 4), 8, config
    )
    other = refine_latent(
        pca.decode, pca.log_prob, observe(garbage, observed), torch.zeros(1, 4), 8, config
    )
    torch.testing.assert_close(plain.z, other.z)
    torch.testing.assert_close(plain.intensities.mean, other.intensities.mean)


def test_an_inverted_contrast_ends_in_the_same_anatomy(pca: LinearPrior, labels: Tensor) -> None:
    image = toy.paint(labels)
    found = [
        refine_latent(pca.decode, pca.log_prob, observe(one), torch.zeros(1, 4), 40, QUICK)
        for one in (image, 1 - image)
    ]
    torch.testing.assert_close(found[0].z, found[1].z, atol=0.02, rtol=0)


@pytest.mark.parametrize("ids", [(0, 10, 20, 31, 32), (0, 7, 3, 1, 200)])
@pytest.mark.parametrize("kind", ["atlas", "pca"])
def test_ids_and_their_order_only_rename_the_result(
    ids: tuple[int, ...], kind: str, rng: torch.Generator
) -> None:
    image = toy.paint(toy.label_map(1.06, 0.85, -0.7), sd=0.08)
    plain = segmentation(toy.table(), kind, image)
    renamed = segmentation(toy.table(ids), kind, image)
    new_id = dict(zip((0, 10, 20, 31, 32), ids, strict=True))
    expected = torch.tensor([new_id[int(value)] for value in plain])
    assert (renamed != expected).float().mean() < 2e-3
    assert set(renamed.tolist()) == set(ids)


def segmentation(table: LabelTable, kind: str, image: Tensor) -> Tensor:
    """Ids at every voxel of the anatomy, from the toy label maps renamed to the table's ids."""
    order = [table.names.index(name) for name in toy.table().names]  # toy index -> table index
    to_table = torch.tensor(order)
    maps = [to_table[m.long()] for m in toy.label_maps()]
    frequency = torch.stack([torch.nn.functional.one_hot(m, toy.NUM_LABELS) for m in maps])
    location = location_prior(frequency.float().mean(0).permute(3, 0, 1, 2), table.groups)
    soft = [one_hot(toy.inside(location, m), toy.NUM_LABELS)[0] for m in maps]
    prior = fit_atlas(location) if kind == "atlas" else fit_components(location, soft, 2)
    classes = intensity_classes(table, IntensityConfig(components={"background": 2}))
    inside = location.gather(image[None, None])
    seen = Observation(inside, torch.ones_like(inside), classes)
    start, _ = prior.encode(
        posterior_through(location.log_prob[None], inside, seen.observed, classes)
    )
    found = refine_latent(prior.decode, prior.log_prob, seen, start, 5, InferenceConfig())
    everywhere = torch.ones(toy.SHAPE, dtype=torch.bool)
    where = find_native_voxels(location, toy.grid(), toy.grid(), everywhere)
    values = image.flatten()[None]
    seen = torch.ones_like(values, dtype=torch.bool)
    prior = rows_of_log_prior(found.log_prior[0], location)
    joints = log_joints(prior, location, where, values, seen, found.intensities)
    return torch.from_numpy(table.ids)[summarise(joints, len(table)).best.long()]
