"""The likelihood's say in a pose: it climbs to where an image is likeliest, and mutual information
judges the way."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from seg_prior.core.grid import Affine, Grid
from seg_prior.core.pose_prior import PosePrior
from seg_prior.inference.pose_likelihood import SHARES, PoseLikelihood
from seg_prior.models.location import LocationPrior
from tests.inference.poses import labels_on, scattered, shifted
from tests.models import toy

CROP = Grid((20, 20, 28), toy.grid().affine)


@pytest.fixture
def pose_prior() -> PosePrior:
    return scattered(CROP)


@pytest.fixture
def likelihood(location: LocationPrior, pose_prior: PosePrior) -> PoseLikelihood:
    return PoseLikelihood(location, toy.grid(), toy.CLASSES, pose_prior)


def painted(native_from_prior: Affine) -> NDArray[np.float32]:
    """The toy anatomy where a pose puts it, with noise."""
    labels = labels_on(CROP, native_from_prior)
    values = toy.MEANS.numpy()[toy.CLASSES.class_of_label.numpy()[labels]]
    noise = np.random.default_rng(1).normal(0, 0.03, values.shape)
    return (values + noise).astype(np.float32)


def test_the_way_leads_from_the_start_to_the_image(likelihood: PoseLikelihood) -> None:
    true, start = shifted((6.0, -4.0, 5.0)), shifted((0.0, 0.0, 0.0))
    image, observed = painted(true), np.ones(CROP.shape, dtype=bool)
    pose_path = likelihood.pose_path(image, observed, CROP, start, seed=0)
    assert len(pose_path) == len(SHARES)
    np.testing.assert_allclose(pose_path[0].native_from_prior, start, atol=1e-6)
    distance = [np.linalg.norm((at.native_from_prior - true)[:3, 3]) for at in pose_path]
    assert distance[-1] < 2.0
    assert distance == sorted(distance, reverse=True)
    nats = [at.nats for at in pose_path]
    assert nats == sorted(nats)
    again = likelihood.pose_path(image, observed, CROP, start, seed=0)
    np.testing.assert_array_equal(again[-1].native_from_prior, pose_path[-1].native_from_prior)


def test_what_is_likeliest_does_not_depend_on_the_contrast(likelihood: PoseLikelihood) -> None:
    image, observed = painted(shifted((5.0, 3.0, 0.0))), np.ones(CROP.shape, dtype=bool)
    end = likelihood.pose_path(image, observed, CROP, np.eye(4), seed=0)[-1]
    inverted = likelihood.pose_path(1.2 - image, observed, CROP, np.eye(4), seed=0)[-1]
    np.testing.assert_allclose(inverted.native_from_prior, end.native_from_prior, atol=0.3)


def test_outside_the_mask_background_is_certain(likelihood: PoseLikelihood) -> None:
    log_atlas = likelihood._log_atlas
    torch.testing.assert_close(log_atlas.exp().sum(1), torch.ones(1, *toy.SHAPE), atol=1e-4, rtol=0)
    assert float(log_atlas[0, 0, 0, 0, 0]) == pytest.approx(0.0, abs=1e-4)
