"""The likelihood's say in a pose: it climbs to where an image is likeliest, and mutual information
judges the way."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from seg_prior.conform.pose import fit_pose
from seg_prior.grid import Affine, Grid, apply_affine
from seg_prior.inference.pose import SHARES, PoseLikelihood
from seg_prior.models.location import LocationPrior
from seg_prior.pose_prior import PosePrior
from tests.models import toy

CROP = Grid((20, 20, 28), toy.grid().affine)


def shifted(shift_mm: tuple[float, float, float]) -> Affine:
    """native_from_prior."""
    pose = np.eye(4)
    pose[:3, 3] = shift_mm
    return pose


@pytest.fixture
def pose_prior() -> PosePrior:
    """Anatomies anywhere within some 8 mm."""
    rng = np.random.default_rng(0)
    moves = [np.linalg.inv(shifted(tuple(rng.normal(0, 8, 3)))) for _ in range(30)]
    return fit_pose(moves, [CROP] * 30, radius_mm=25.0)


@pytest.fixture
def likelihood(location: LocationPrior, pose_prior: PosePrior) -> PoseLikelihood:
    return PoseLikelihood(location, toy.grid(), toy.CLASSES, pose_prior)


def painted(native_from_prior: Affine) -> NDArray[np.float32]:
    """The toy anatomy where a pose puts it, with noise."""
    index = np.argwhere(np.ones(CROP.shape, dtype=bool))
    world_mm = apply_affine(CROP.affine, index)
    to_prior = np.linalg.inv(native_from_prior @ toy.grid().affine)
    voxel = apply_affine(to_prior, world_mm).round().astype(int)
    inside = ((voxel >= 0) & (voxel < toy.SHAPE)).all(axis=1)
    labels = np.zeros(len(voxel), dtype=int)
    labels[inside] = toy.label_map().numpy()[tuple(voxel[inside].T)]
    values = toy.MEANS.numpy()[toy.CLASSES.class_of_label.numpy()[labels]]
    noise = np.random.default_rng(1).normal(0, 0.03, len(values))
    return (values + noise).reshape(CROP.shape).astype(np.float32)


def test_the_way_leads_from_the_start_to_the_image(likelihood: PoseLikelihood) -> None:
    true, start = shifted((6.0, -4.0, 5.0)), shifted((0.0, 0.0, 0.0))
    image, observed = painted(true), np.ones(CROP.shape, dtype=bool)
    way = likelihood.way(image, observed, CROP, start, seed=0)
    assert len(way) == len(SHARES)
    np.testing.assert_allclose(way[0].native_from_prior, start, atol=1e-6)
    distance = [np.linalg.norm((at.native_from_prior - true)[:3, 3]) for at in way]
    assert distance[-1] < 2.0
    assert distance == sorted(distance, reverse=True)
    nats = [at.nats for at in way]
    assert nats == sorted(nats)
    again = likelihood.way(image, observed, CROP, start, seed=0)
    np.testing.assert_array_equal(again[-1].native_from_prior, way[-1].native_from_prior)


def test_what_is_likeliest_does_not_depend_on_the_contrast(likelihood: PoseLikelihood) -> None:
    image, observed = painted(shifted((5.0, 3.0, 0.0))), np.ones(CROP.shape, dtype=bool)
    end = likelihood.way(image, observed, CROP, np.eye(4), seed=0)[-1]
    inverted = likelihood.way(1.2 - image, observed, CROP, np.eye(4), seed=0)[-1]
    np.testing.assert_allclose(inverted.native_from_prior, end.native_from_prior, atol=0.3)


def test_outside_the_mask_background_is_certain(likelihood: PoseLikelihood) -> None:
    log_atlas = likelihood._log_atlas
    torch.testing.assert_close(log_atlas.exp().sum(1), torch.ones(1, *toy.SHAPE), atol=1e-4, rtol=0)
    assert float(log_atlas[0, 0, 0, 0, 0]) == pytest.approx(0.0, abs=1e-4)
