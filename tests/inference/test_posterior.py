"""The posterior at native voxels against a dense sum over labels, interpolated by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_prior.core.grid import Grid, apply_affine
from seg_prior.inference.posterior import (
    NativeVoxels,
    Posterior,
    find_native_voxels,
    log_joints,
    summarise,
)
from seg_prior.models.likelihood import Intensities, log_likelihood, responsibilities
from seg_prior.models.location import FLOOR, LocationPrior, rows_of_log_prior
from tests.models import toy

Doubles = NDArray[np.float64]


def oblique() -> Grid:
    """Turned, flipped, sheared and anisotropic, with part of the anatomy out of view."""
    turn = np.deg2rad(20)
    linear = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0.1], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = linear @ np.diag([-5.0, 3.0, 7.0])
    shape = (12, 15, 11)
    middle = affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[:3, 3] = np.array([4.0, -2.0, 9.0]) - middle
    return Grid(shape, affine)


def random_log_prior(location: LocationPrior, rng: torch.Generator) -> Tensor:
    logits = location.log_prob + torch.randn(location.log_prob.shape, generator=rng)
    return torch.log_softmax(logits, dim=0)[None]


def joints_of(
    log_prior: Tensor,
    location: LocationPrior,
    where: NativeVoxels,
    image: Tensor,
    intensities: Intensities | None,
    power: float = 1.0,
) -> Tensor:
    """(N, G) log joints of one contrast that is observed everywhere."""
    image = image.flatten()[None]
    seen = torch.ones_like(image, dtype=torch.bool)
    prior = rows_of_log_prior(log_prior[0], location)
    return torch.cat(list(log_joints(prior, location, where, image, seen, intensities, power)))


def summary_of(joints: Tensor) -> Posterior:
    return summarise(iter(joints.split(300)), joints.shape[1])


def everything(shape: tuple[int, int, int]) -> Tensor:
    return torch.ones(shape, dtype=torch.bool)


def interpolate(grid: Doubles, place: Doubles) -> float:
    """Trilinear by hand, the border repeated."""
    place = np.clip(place, 0, np.array(grid.shape) - 1)
    low = np.minimum(np.floor(place).astype(int), np.array(grid.shape) - 2)
    rest = place - low
    total = 0.0
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, rest, 1 - rest))
        total += weight * float(grid[tuple(low + corner)])
    return total


def dense(
    location: LocationPrior, log_prior: Tensor, native: Grid, image: Tensor
) -> tuple[list[int], Doubles]:
    """Flat indices of the voxels to segment, and their (N, L) log joints."""
    mask = location.scatter(torch.ones(1, 1, location.voxels.numel()), 0.0)[0, 0].numpy() > 0
    grids = [
        location.scatter(log_prior[:, n : n + 1], 0.0 if n == 0 else math.log(FLOOR))[0, 0]
        .double()
        .numpy()
        for n in range(toy.NUM_LABELS)
    ]
    prior_from_native = np.linalg.inv(toy.grid().affine) @ native.affine
    found, joints = [], []
    for flat, index in enumerate(np.ndindex(*native.shape)):
        place = apply_affine(prior_from_native, np.array([index]))[0]
        near = np.rint(place).astype(int)
        if (near < 0).any() or (near >= toy.SHAPE).any() or not mask[tuple(near)]:
            continue
        found.append(flat)
        value = image.flatten()[flat].view(1, 1, 1)
        log_prob = log_likelihood(value, torch.ones_like(value), GAUSSIANS)[0, :, 0].tolist()
        joints.append([interpolate(g, place) + log_prob[n] for n, g in enumerate(grids)])
    return found, np.array(joints)


GAUSSIANS = toy.gaussians([0.1, 0.9, 0.5], [0.05, 0.03, 0.04])


def test_the_posterior_is_the_dense_sum_over_labels(
    location: LocationPrior, rng: torch.Generator
) -> None:
    native, log_prior = oblique(), random_log_prior(location, rng)
    image = torch.rand(native.shape, generator=rng)
    expected_index, joint = dense(location, log_prior, native, image)
    where = find_native_voxels(location, toy.grid(), native, everything(native.shape))
    assert where.index.tolist() == expected_index
    assert 1000 < len(expected_index) < np.prod(native.shape) - 100

    joints = joints_of(log_prior, location, where, image, GAUSSIANS)
    posterior = summary_of(joints)
    evidence = np.logaddexp.reduce(joint, axis=1)
    probability = np.exp(joint - evidence[:, None])
    entropy = -(probability * np.log(probability)).sum(axis=1)
    np.testing.assert_allclose(joints.numpy(), joint, atol=2e-3)
    np.testing.assert_allclose(posterior.mass.numpy(), probability.sum(0), rtol=2e-3)
    np.testing.assert_allclose(posterior.entropy.numpy(), entropy, atol=2e-3)
    runner_up = np.sort(joint, axis=1)[:, -2]
    is_clear = joint.max(axis=1) - runner_up > 5e-3
    assert (posterior.best.numpy() == joint.argmax(axis=1))[is_clear].all()
    assert is_clear.mean() > 0.95


def test_on_the_prior_grid_it_is_the_posterior_of_the_model(
    location: LocationPrior, rng: torch.Generator
) -> None:
    log_prior = random_log_prior(location, rng)
    image = torch.rand(toy.SHAPE, generator=rng)
    where = find_native_voxels(location, toy.grid(), toy.grid(), everything(toy.SHAPE))
    assert torch.equal(where.index, location.voxels.sort().values)
    posterior = summary_of(joints_of(log_prior, location, where, image, GAUSSIANS))
    inside = location.gather(image[None, None])
    r = responsibilities(log_prior, inside, torch.ones_like(inside), GAUSSIANS)[0]
    r = r[:, location.voxels.argsort()]
    expected = -(r * r.log()).sum(0)
    torch.testing.assert_close(posterior.entropy.float(), expected, atol=2e-3, rtol=0)
    assert (posterior.best == r.argmax(0)).float().mean() > 0.999


def test_only_observed_voxels_are_segmented(location: LocationPrior) -> None:
    observed = everything(toy.SHAPE)
    observed[:, :, :10] = False
    where = find_native_voxels(location, toy.grid(), toy.grid(), observed)
    expected = location.voxels.sort().values
    assert torch.equal(where.index, expected[expected % toy.SHAPE[2] >= 10])
    assert where.index.numel() > 0


def test_a_flipped_grid_meets_the_same_places(location: LocationPrior) -> None:
    flipped = Grid(toy.SHAPE, toy.grid().affine @ np.diag([1.0, 1.0, -1.0, 1.0]))
    flipped.affine[:3, 3] = apply_affine(toy.grid().affine, np.array([[0, 0, toy.SHAPE[2] - 1]]))[0]
    where = find_native_voxels(location, toy.grid(), flipped, everything(toy.SHAPE))
    log_prior = location.log_prob[None]
    straight = find_native_voxels(location, toy.grid(), toy.grid(), everything(toy.SHAPE))
    nothing = torch.zeros(toy.SHAPE)
    maps = []
    for place in (straight, where):
        best = summary_of(joints_of(log_prior, location, place, nothing, None)).best
        maps.append(torch.zeros(math.prod(toy.SHAPE), dtype=torch.uint8))
        maps[-1][place.index] = best
    there, back = (m.view(toy.SHAPE) for m in maps)
    assert (there == back.flip(2)).float().mean() > 0.999
    assert there.any()


def test_without_intensities_the_prior_decides(
    location: LocationPrior, rng: torch.Generator
) -> None:
    log_prior = random_log_prior(location, rng)
    where = find_native_voxels(location, toy.grid(), toy.grid(), everything(toy.SHAPE))
    posterior = summary_of(joints_of(log_prior, location, where, torch.zeros(toy.SHAPE), None))
    expected = log_prior[0].argmax(0)[location.voxels.argsort()]
    assert (posterior.best == expected).float().mean() > 0.999


def test_labels_that_count_as_one_add_up(location: LocationPrior, rng: torch.Generator) -> None:
    where = find_native_voxels(location, toy.grid(), toy.grid(), everything(toy.SHAPE))
    image = torch.rand(toy.SHAPE, generator=rng)
    fitted = toy.gaussians([0.1, 0.9, 0.5], [0.1, 0.2, 0.3])

    def joints(one: LocationPrior) -> Tensor:
        return joints_of(location.log_prob[None], one, where, image, fitted).T

    groups = ((0, toy.SHELL), (toy.CORE,), (toy.LEFT,), (toy.RIGHT,))
    grouped = LocationPrior(location.log_prob, location.cells, location.shape, groups)
    apart, together = joints(location), joints(grouped)
    torch.testing.assert_close(together[0].exp(), apart[0].exp() + apart[toy.SHELL].exp())
    assert torch.equal(together[1], apart[toy.CORE])


def test_several_gaussians_of_a_class_add_up(location: LocationPrior, rng: torch.Generator) -> None:
    classes = replace(toy.CLASSES, tie_of_component=torch.tensor([0, 0, 1, 2]))
    mixed = toy.gaussians([0.1, 0.3, 0.9, 0.5], [0.01, 0.01, 0.03, 0.04], classes)
    where = find_native_voxels(location, toy.grid(), toy.grid(), everything(toy.SHAPE))
    image = torch.rand(toy.SHAPE, generator=rng)
    log_prior = location.log_prob[None]
    joints = joints_of(log_prior, location, where, image, mixed).T
    alone = joints_of(log_prior, location, where, image, None).T
    one = image.flatten()[where.index][None, None]
    expected = log_likelihood(one, torch.ones_like(one), mixed)[0]
    torch.testing.assert_close(joints - alone, expected)


def test_a_scan_beside_the_anatomy_has_nothing_to_segment(location: LocationPrior) -> None:
    far = Grid(toy.SHAPE, toy.grid().affine.copy())
    far.affine[0, 3] += 1000
    where = find_native_voxels(location, toy.grid(), far, everything(toy.SHAPE))
    image = torch.zeros(toy.SHAPE).flatten()[None]
    prior = rows_of_log_prior(location.log_prob, location)
    joints = log_joints(prior, location, where, image, image > 0, GAUSSIANS)
    posterior = summarise(joints, toy.NUM_LABELS)
    assert posterior.best.shape == posterior.entropy.shape == (0,)
    assert posterior.mass.tolist() == [0.0] * toy.NUM_LABELS


@pytest.mark.parametrize("spread", [0.1, 3.0, 100.0, 1e4])
def test_one_pass_equals_the_dense_softmax(spread: float, rng: torch.Generator) -> None:
    joints = spread * torch.randn(500, 7, generator=rng)
    found = summary_of(joints)
    log_posterior = torch.log_softmax(joints.double(), dim=1)
    entropy = -(log_posterior.exp() * log_posterior).sum(1)
    assert torch.equal(found.best.long(), joints.argmax(1))
    torch.testing.assert_close(found.entropy.double(), entropy, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(found.mass, log_posterior.exp().sum(0), atol=1e-3, rtol=1e-5)
    assert found.best.dtype == torch.uint8


def test_entropy_by_hand() -> None:
    joints = torch.tensor([[0.0, 0.0, 0.0], [5.0, -200.0, -200.0], [0.0, math.log(3), -200.0]])
    found = summary_of(joints)
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert found.entropy.tolist() == pytest.approx([math.log(3), 0.0, quarter], abs=5e-4)
    assert found.confidence.tolist() == pytest.approx([1 / 3, 1.0, 0.75])
    assert found.best.tolist() == [0, 0, 1]  # the first of equals
    assert found.mass.tolist() == pytest.approx([1 / 3 + 1 + 0.25, 1 / 3 + 0.75, 1 / 3])


def test_places_are_voxels_of_prior_space(location: LocationPrior) -> None:
    where = find_native_voxels(location, toy.grid(), toy.grid().halved(), everything((32, 32, 48)))
    _, *parts = zip(*where.blocks(), strict=True)
    index, place = map(torch.cat, parts)
    assert torch.equal(index, where.index)
    voxel = torch.stack([index // (32 * 48), index // 48 % 32, index % 48], dim=1)
    torch.testing.assert_close(place, voxel / 2 - 0.25)


def test_evidence_is_the_power_of_the_likelihood(
    location: LocationPrior, rng: torch.Generator
) -> None:
    log_prior = random_log_prior(location, rng)
    native = oblique()
    observed = torch.ones(native.shape, dtype=torch.bool)
    where = find_native_voxels(location, toy.grid(), native, observed)
    image = torch.rand(native.shape, generator=rng)
    fitted = toy.gaussians(toy.MEANS.tolist(), [0.01] * 3)

    def joints(intensities: Intensities | None, power: float = 1.0) -> Tensor:
        return joints_of(log_prior, location, where, image, intensities, power)

    alone, full, half = joints(None), joints(fitted), joints(fitted, 0.5)
    assert not torch.allclose(full, alone)
    torch.testing.assert_close(half, (alone + full) / 2)
