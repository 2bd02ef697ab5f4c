"""Where a locator's labels say that the anatomy lies."""

import numpy as np
import torch
from torch import Tensor

from seg_prior.core.grid import Grid, apply_affine
from seg_prior.inference.finder import Finder
from seg_prior.inference.locator_likelihood import sight_grid
from seg_prior.models.label_vae import one_hot
from seg_prior.models.location import LocationPrior
from seg_prior.registration.resample import resample
from tests.models import toy


def world(degrees: float, scale: float) -> Grid:
    """A larger field of view in which the toy anatomy is turned, sized and off the middle."""
    turn = np.deg2rad(degrees)
    move = np.eye(4)
    move[:2, :2] = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    move[2, 2] = scale
    move[:3, 3] = (6.0, -9.0, 12.0)
    return Grid(toy.SHAPE, move @ toy.grid().affine)


def finder(location: LocationPrior, see_nothing: bool, moved: Grid) -> Finder:
    """One whose network knows the labels of the mean anatomy as it lies in the world."""
    view = view_of_all()
    seen_on = sight_grid(view, toy.SPACING_MM)
    labels = one_hot(toy.label_map().view(1, -1), toy.NUM_LABELS)[0].view(-1, *toy.SHAPE)
    carried = resample(labels[1:], moved, seen_on)
    prob = torch.cat([1 - carried.sum(0, keepdim=True), carried])

    def see(image: Tensor) -> Tensor:
        assert image.shape[1:] == prob.shape[1:]
        if see_nothing:
            return (
                torch.log_softmax(9.0 * (torch.arange(5) == 0), 0).view(5, 1, 1, 1).expand_as(prob)
            )
        return prob.clamp_min(1e-6).log()

    table = toy.table()
    return Finder.of(see, toy.SPACING_MM, location, toy.grid(), table)


def view_of_all() -> Grid:
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = -90.0
    return Grid((60, 60, 64), affine)


def test_the_anatomy_is_laid_on_the_prior(location: LocationPrior) -> None:
    moved, view = world(0, 1.1), view_of_all()  # shell and core tell no turn
    image = np.random.default_rng(0).random(view.shape).astype(np.float32)
    found = finder(location, False, moved).find(image, np.ones(view.shape, bool), view)
    assert found is not None
    inside = np.argwhere(toy.label_map().numpy() > 0)
    places = apply_affine(found.prior_from_native @ moved.affine, inside)
    off_mm = np.linalg.norm(places - apply_affine(toy.grid().affine, inside), axis=1)
    assert off_mm.mean() < toy.SPACING_MM
    anatomy_mm3 = (toy.label_map() > 0).sum() * moved.voxel_volume_mm3
    whole_mm3 = np.prod(view.shape) * view.voxel_volume_mm3
    np.testing.assert_allclose(found.share, float(anatomy_mm3) / whole_mm3, rtol=0.1)


def test_nothing_is_found_where_the_network_sees_hardly_anything(location: LocationPrior) -> None:
    view = view_of_all()
    image = np.zeros(view.shape, np.float32)
    blind = finder(location, True, world(0, 1.0))
    assert blind.find(image, np.ones(view.shape, bool), view) is None
