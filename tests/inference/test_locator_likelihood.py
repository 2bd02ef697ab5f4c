"""What a network sees becomes a pose, whatever way the image's axes run."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_prior.core.grid import Affine, Grid, apply_affine
from seg_prior.core.pose_prior import PosePrior
from seg_prior.inference.locator_likelihood import LocatorLikelihood, sight_grid
from seg_prior.models.location import LocationPrior
from seg_prior.models.locator import SIDES_OF
from seg_prior.registration.resample import resample_observed
from tests.inference.poses import labels_on, scattered, shifted
from tests.models import toy

CROP = Grid((26, 24, 34), toy.grid().affine @ np.diag([0.8, 0.8, 0.8, 1.0]))


@pytest.fixture
def pose_prior() -> PosePrior:
    return scattered(CROP)


def seeing(grid: Grid, native_from_prior: Affine, sureness: float = 0.95) -> Callable[..., Tensor]:
    """A network that sees the anatomy there, on the grid it is shown."""
    seen_on = sight_grid(grid, toy.SPACING_MM)
    labels = torch.from_numpy(labels_on(seen_on, native_from_prior))

    def see(image: Tensor) -> Tensor:
        assert image.shape == (2, *seen_on.shape)
        one_hot = torch.nn.functional.one_hot(labels, toy.NUM_LABELS).movedim(-1, 0).float()
        return (sureness * one_hot + (1 - sureness) / toy.NUM_LABELS).log()

    return see


def locate(
    see: Callable[..., Tensor], location: LocationPrior, prior: PosePrior
) -> LocatorLikelihood:
    return LocatorLikelihood(see, toy.SPACING_MM, location, toy.grid(), prior)


def noise(grid: Grid) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    values = np.random.default_rng(2).random(grid.shape).astype(np.float32)
    return values, np.ones(grid.shape, dtype=bool)


@pytest.mark.parametrize("shift_mm", [(0.0, 0.0, 0.0), (9.0, -6.0, 8.0)])
def test_the_pose_is_where_the_labels_are_seen(
    location: LocationPrior, pose_prior: PosePrior, shift_mm: tuple[float, float, float]
) -> None:
    true = shifted(shift_mm)
    found = locate(seeing(CROP, true), location, pose_prior).locate(*noise(CROP), CROP, 0)
    assert found is not None
    (pose,) = pose_prior.poses(found.u[None], CROP.center_mm)
    assert np.linalg.norm((pose - true)[:3, 3]) < 0.75 * toy.SPACING_MM
    away = [shifted(tuple(np.array(shift_mm) + step)) for step in (4.0, 8.0, 16.0)]
    nats = found.nats(np.stack([pose, *away]))
    assert nats.shape == (4,)
    assert (np.diff(nats) < 0).all()
    again = locate(seeing(CROP, true), location, pose_prior).locate(*noise(CROP), CROP, 0)
    assert again is not None
    np.testing.assert_array_equal(again.u, found.u)


def test_a_network_that_sees_nothing_says_nothing(
    location: LocationPrior, pose_prior: PosePrior
) -> None:
    far = seeing(CROP, shifted((1000.0, 0.0, 0.0)), sureness=0.999)
    assert locate(far, location, pose_prior).locate(*noise(CROP), CROP, 0) is None


def test_specks_far_away_do_not_move_the_pose(
    location: LocationPrior, pose_prior: PosePrior
) -> None:
    wide = Grid((26, 24, 80), CROP.affine)
    seen = seeing(wide, np.eye(4), sureness=0.98)

    def see(image: Tensor) -> Tensor:
        log_prob = seen(image)
        log_prob[:, :3, :3, -8:] = log_prob[:, :1, :1, :1]
        log_prob[1, :3, :3, -8:] = 2.0
        return log_prob.log_softmax(0)

    plain = locate(seen, location, pose_prior).locate(*noise(wide), wide, 0)
    specked = locate(see, location, pose_prior).locate(*noise(wide), wide, 0)
    assert plain is not None
    assert specked is not None
    poses = pose_prior.poses(np.stack([plain.u, specked.u]), wide.center_mm)
    assert np.linalg.norm((poses[0] - poses[1])[:3, 3]) < 1.0


def test_of_two_organs_the_larger_is_taken(location: LocationPrior, pose_prior: PosePrior) -> None:
    """Their common middle lies in neither."""
    wide = Grid((26, 24, 110), CROP.affine)
    near, far = seeing(wide, np.eye(4), 0.999), seeing(wide, shifted((0.0, 0.0, 160.0)), 0.999)

    def see(image: Tensor) -> Tensor:
        both = torch.maximum(near(image)[1:], far(image)[1:] - 0.3).exp()
        return torch.cat([1 - both.sum(0, keepdim=True), both]).clamp_min(1e-9).log()

    found = locate(see, location, pose_prior).locate(*noise(wide), wide, 0)
    assert found is not None
    (pose,) = pose_prior.poses(found.u[None], wide.center_mm)
    assert np.linalg.norm(pose[:3, 3]) < toy.SPACING_MM
    assert np.isfinite(found.nats(pose[None])).all()


def test_what_is_said_of_places_out_of_view_does_not_count(
    location: LocationPrior, pose_prior: PosePrior
) -> None:
    seen = seeing(CROP, np.eye(4))
    image, observed = noise(CROP)
    observed[:, :, :5] = observed[:, :, -5:] = False

    def see(shown: Tensor) -> Tensor:
        log_prob = seen(shown)
        log_prob[:, shown[1] < 0.5] = torch.tensor([-9.0, 0.0, -9.0, -9.0, -9.0])[:, None]
        return log_prob.log_softmax(0)

    plain = locate(seen, location, pose_prior).locate(image, observed, CROP, 0)
    other = locate(see, location, pose_prior).locate(image, observed, CROP, 0)
    assert plain is not None
    assert other is not None
    np.testing.assert_allclose(other.u, plain.u, atol=1e-3)


TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    "axes",
    [
        np.eye(3),
        np.diag([-1.0, -1.0, 1.0]),
        np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        TURN,
        TURN @ np.array([[1.0, 0.2, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
    ],
    ids=["as the world's", "flipped", "permuted", "oblique", "sheared"],
)
def test_images_are_seen_the_right_way_up(axes: NDArray[np.float64]) -> None:
    affine = np.eye(4)
    affine[:3, :3] = axes @ np.diag([1.5, 2.0, 6.0])
    affine[:3, 3] = 10, -20, 30
    grid = Grid((30, 26, 9), affine)
    seen_on = sight_grid(grid, 3.0)
    np.testing.assert_allclose(seen_on.spacing_mm, 3.0)
    directions = seen_on.affine[:3, :3] / 3.0
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-9)
    assert np.linalg.det(directions) > 0
    assert (np.diag(directions) > 0.5).all()
    assert not any(side % SIDES_OF for side in seen_on.shape)
    np.testing.assert_allclose(seen_on.center_mm, grid.center_mm, atol=1e-9)
    places_mm = apply_affine(affine, np.argwhere(np.ones(grid.shape, dtype=bool)))
    voxel = apply_affine(np.linalg.inv(seen_on.affine), places_mm)
    assert (voxel > -0.51).all()
    assert (voxel < np.array(seen_on.shape) - 0.49).all()
    assert ((voxel.max(axis=0) - voxel.min(axis=0)) > np.array(seen_on.shape) - 12).all()


def test_reorienting_an_image_leaves_what_is_seen() -> None:
    values, observed = noise(CROP)
    pair = torch.from_numpy(np.stack([values, observed.astype(np.float32)]))
    straight = resample_observed(*pair, CROP, sight_grid(CROP, 4.0))
    flipped = CROP.affine.copy()
    flipped[:3, 3] += flipped[:3, 0] * (CROP.shape[0] - 1)
    flipped[:3, 0] *= -1
    turned = Grid((CROP.shape[1], CROP.shape[0], CROP.shape[2]), flipped[:, [1, 0, 2, 3]])
    seen = resample_observed(*pair.flip(1).transpose(1, 2), turned, sight_grid(turned, 4.0))
    torch.testing.assert_close(seen, straight, atol=1e-5, rtol=0)
