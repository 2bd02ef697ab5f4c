"""Where a network sees the anatomy, as evidence on its pose: coarse, but hardly ever all wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_prior.core.grid import Grid, apply_affine
from seg_prior.core.pose_prior import Floats, PosePrior
from seg_prior.inference.pose_likelihood import (
    climb_pose,
    log_on_grid,
    log_prior_at,
    pose_of,
)
from seg_prior.models.location import LocationPrior
from seg_prior.models.locator import SIDES_OF, standardised
from seg_prior.registration.pose_search import LocatorPose
from seg_prior.registration.resample import resample_observed

LEAST_SEEN = 0.2
"""Of the prior's anatomy, by volume; a network that sees less has found nothing."""

_FLOOR = 1e-3  # of the atlas: a voxel that is taken for an organ may lie in none
_REACH = 2.0  # radii of the anatomy: what is seen farther away is taken for another organ
_CENTERINGS = 5
_NUM_VOXELS = 4000  # compared; drawn once for each image
_NUM_STEPS = 100


class _Seen(NamedTuple):
    """(N, 3) places in world mm, (L, N) label probabilities there, and (3,) their middle."""

    places_mm: Tensor
    labels: Tensor
    center_mm: Floats


@dataclass(frozen=True, eq=False)
class LocatorLikelihood:
    """What a locator says of poses.

    Attributes:
        see: The network: (2, D, H, W) standardised image -> (L, D, H, W) log label probabilities
            on the CPU.
        spacing_mm: Of the grid that it sees images on.
        location: The atlas, on the CPU.
        grid: Prior space.
        pose_prior: Where in an image the anatomy lies.
    """

    see: Callable[[Tensor], Tensor]
    spacing_mm: float
    location: LocationPrior
    grid: Grid
    pose_prior: PosePrior

    def locate(
        self, image: NDArray[np.float32], observed: NDArray[np.bool_], grid: Grid, seed: int
    ) -> LocatorPose | None:
        """The pose that fits best what the network sees, and how well others do.

        Args:
            image, observed: (I, J, K), normalised intensity and field of view.
            grid: Of the image.
            seed: Draws the voxels.

        Returns:
            None where the network sees hardly any of the anatomy.
        """
        seen = self._look(image, observed, grid, seed)
        if seen is None:
            return None
        share = float(seen.labels[1:].sum())

        def nats(poses: Tensor) -> Tensor:
            log_prior = log_prior_at(self._log_atlas, self.grid, seen.places_mm, poses)
            return (seen.labels * log_prior).sum((1, 2)) / share

        def objective(u: Tensor) -> Tensor:
            return nats(pose_of(self.pose_prior, u, grid.center_mm)[None])[0]

        end = climb_pose(torch.from_numpy(self._start(seen.center_mm, grid)), objective, _NUM_STEPS)
        return LocatorPose(end.numpy(), lambda poses: nats(torch.from_numpy(poses)).numpy())

    def _look(
        self, image: NDArray[np.float32], observed: NDArray[np.bool_], grid: Grid, seed: int
    ) -> _Seen | None:
        """What lies within reach of the middle of what is seen."""
        seen_on = sight_grid(grid, self.spacing_mm)
        pair = resample_observed(torch.from_numpy(image), torch.from_numpy(observed), grid, seen_on)
        # What it says of places out of view was never trained.
        in_view = (pair[1] > 0.5).numpy()
        labels = self.see(standardised(*pair))[:, torch.from_numpy(in_view)].exp()
        world_mm = apply_affine(seen_on.affine, np.argwhere(in_view))
        anatomy = (1 - labels[0]).numpy().astype(np.float64)
        atlas_mm3, _, radius_mm = self._atlas_moments
        center_mm = densest(world_mm, anatomy, radius_mm)
        for _ in range(_CENTERINGS):
            near = np.linalg.norm(world_mm - center_mm, axis=1) < _REACH * radius_mm
            seen = anatomy[near].sum()
            if seen * seen_on.voxel_volume_mm3 < LEAST_SEEN * atlas_mm3:
                return None
            center_mm = anatomy[near] @ world_mm[near] / seen
        drawn = np.random.default_rng(seed).permutation(np.flatnonzero(near))[:_NUM_VOXELS]
        return _Seen(torch.from_numpy(world_mm[drawn]), labels[:, drawn], center_mm)

    def _start(self, center_mm: Floats, grid: Grid) -> Floats:
        """(12,): turned and sized as usual, the atlas' middle where the anatomy's is seen."""
        pose = self.pose_prior.poses(np.zeros((1, 12)), grid.center_mm)[0]
        pose[:3, 3] = center_mm - pose[:3, :3] @ self._atlas_moments[1]
        return self.pose_prior.standard(pose, grid.center_mm)

    @cached_property
    def _atlas_moments(self) -> tuple[float, Floats, float]:
        """Volume in mm^3, (3,) middle and root mean square radius in mm of the atlas' anatomy."""
        anatomy = 1 - self.location.scatter(self.location.prob[None], 1.0)[0, 0].numpy()
        index = np.argwhere(anatomy > 0)
        world_mm = apply_affine(self.grid.affine, index)
        weight = anatomy[tuple(index.T)].astype(np.float64)
        center_mm = weight @ world_mm / weight.sum()
        radius_mm = np.sqrt(weight @ ((world_mm - center_mm) ** 2).sum(axis=1) / weight.sum())
        return float(weight.sum()) * self.grid.voxel_volume_mm3, center_mm, float(radius_mm)

    @cached_property
    def _log_atlas(self) -> Tensor:
        """(1, L, D, H, W) log probability of every label."""
        return log_on_grid(self.location, self.location.prob[None], _FLOOR)


def sight_grid(grid: Grid, spacing_mm: float) -> Grid:
    """The isotropic grid on which a network sees an image: its axes, to the right, front and top.

    Args:
        grid: Of the image.
        spacing_mm: Of the voxels.

    Returns:
        Sides are multiples of `SIDES_OF`, as short as cover the image.
    """
    directions = grid.affine[:3, :3] / grid.spacing_mm
    axes = grid.nearest_axes
    signs = np.sign(directions[range(3), axes])
    # Of a sheared image the axes are made orthogonal, one after the other.
    turned, upper = np.linalg.qr(directions[:, axes] * signs)
    turned = turned * np.sign(np.diag(upper))
    corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * grid.shape
    reach_mm = np.abs(corners @ grid.affine[:3, :3].T @ turned).max(axis=0)
    # A voxel's thousandth of slack: rounding must not add a whole row of them.
    sides = np.ceil(2 * reach_mm / (SIDES_OF * spacing_mm) - 1e-3)
    shape = np.maximum(1, sides).astype(int) * SIDES_OF
    affine = np.eye(4)
    affine[:3, :3] = spacing_mm * turned
    affine[:3, 3] = grid.center_mm - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def densest(world_mm: Floats, weight: Floats, edge_mm: float) -> Floats:
    """(3,) the middle of what weighs most of cubes that tile space; (N, 3) places, (N,) weights."""
    cubes, owner = np.unique(np.floor(world_mm / edge_mm), axis=0, return_inverse=True)
    owner = owner.ravel()
    best = owner == np.bincount(owner, weight, minlength=len(cubes)).argmax()
    return np.asarray(weight[best] @ world_mm[best] / max(weight[best].sum(), 1e-12))
