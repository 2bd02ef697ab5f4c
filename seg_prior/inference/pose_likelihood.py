"""What the likelihood says of a pose: the way from a first registration to where x is likeliest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from seg_prior.core.grid import Affine, Grid, apply_affine
from seg_prior.core.pose_prior import PosePrior
from seg_prior.models import em, likelihood
from seg_prior.models.likelihood import Intensities, IntensityClasses
from seg_prior.models.location import LocationPrior
from seg_prior.models.warp import to_unit
from seg_prior.registration.pose_search import NUM_INDEPENDENT, PoseCandidate

NUM_VOXELS = 20_000
NUM_STEPS, RATE = 80, 0.15
EM_ROUNDS = 20
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the way, where it is looked at again."""


@dataclass(frozen=True, eq=False)
class PoseLikelihood:
    """p(x | pose) under the atlas, one mixture of Gaussians, and the pose prior.

    Attributes:
        location: The atlas, on the CPU.
        grid: Prior space.
        classes: Which Gaussians there are.
        pose_prior: Where in an image the anatomy lies.
    """

    location: LocationPrior
    grid: Grid
    classes: IntensityClasses
    pose_prior: PosePrior

    def pose_path(
        self,
        image: NDArray[np.float32],
        observed: NDArray[np.bool_],
        grid: Grid,
        native_from_prior: Affine,
        seed: int,
    ) -> list[PoseCandidate]:
        """Climb log p(x | pose) + log p(pose), and tell of poses on the straight way there.

        The Gaussians are fitted by one round of EM in each step. The likelihood alone is no guide
        to a pose: an organ amid tissue of its own brightness would be stretched over it. Who asks
        weighs the poses against what else is known of them.

        Args:
            image, observed: (I, J, K), normalised intensity and field of view.
            grid: Of the image.
            native_from_prior: (4, 4), world mm -> world mm, where to start.
            seed: Draws the voxels.
        """
        x, places_mm = self._draw(image, observed, grid, native_from_prior, seed)
        seen = torch.ones_like(x)
        start = torch.from_numpy(self.pose_prior.standard(native_from_prior, grid.center_mm))

        def log_prior(u: Tensor) -> Tensor:
            return self._log_prior_at(places_mm, u, grid.center_mm)

        def log_evidence(log_prior: Tensor, fitted: Intensities) -> Tensor:
            by_class = likelihood.class_log_likelihood(x, seen, fitted)
            return torch.logsumexp(log_prior + by_class, dim=1).mean()

        def fit_anew(prior: Tensor) -> Intensities:
            return em.fit_anew(x, seen, prior, self.classes, EM_ROUNDS)

        fitted = None

        def objective(u: Tensor) -> Tensor:
            nonlocal fitted
            at_u = log_prior(u)
            prior = at_u.detach().exp()
            fitted = em.fit(x, seen, prior, fitted, 1) if fitted else fit_anew(prior)
            return log_evidence(at_u, fitted)

        end = climb_pose(start, objective, NUM_STEPS)
        pose_path = []
        with torch.no_grad():
            for share in SHARES:
                u = start + share * (end - start)
                at_u = log_prior(u)
                nats = float(log_evidence(at_u, fit_anew(at_u.exp())))
                pose = self.pose_prior.poses(u.numpy()[None], grid.center_mm)[0]
                pose_path.append(PoseCandidate(pose, u.numpy(), nats))
        return pose_path

    def _draw(
        self,
        image: NDArray[np.float32],
        observed: NDArray[np.bool_],
        grid: Grid,
        native_from_prior: Affine,
        seed: int,
    ) -> tuple[Tensor, Tensor]:
        """Voxels that lie in prior space at the start: (1, 1, N) intensities, (N, 3) world mm."""
        index = np.argwhere(observed)
        world_mm = apply_affine(grid.affine, index)
        moved = np.linalg.inv(self.grid.affine) @ np.linalg.inv(native_from_prior)
        voxel = apply_affine(moved, world_mm)
        near = np.flatnonzero(((voxel > -1) & (voxel < self.grid.shape)).all(axis=1))
        rng = np.random.default_rng(seed)
        drawn = rng.choice(near, min(NUM_VOXELS, near.size), replace=False)
        x = image[tuple(index[drawn].T)]
        return torch.from_numpy(x)[None, None], torch.from_numpy(world_mm[drawn])

    @cached_property
    def _log_atlas(self) -> Tensor:
        """(1, C, D, H, W) log probability of every intensity class."""
        prior = likelihood.class_prior(self.location.log_prob[None], self.classes)
        return log_on_grid(self.location, prior, 1e-6)

    def _log_prior_at(self, places_mm: Tensor, u: Tensor, center_mm: NDArray[np.float64]) -> Tensor:
        """(1, C, N) log probability of every class at native places under the pose u."""
        pose = pose_of(self.pose_prior, u, center_mm)
        return log_prior_at(self._log_atlas, self.grid, places_mm, pose[None])


def climb_pose(start: Tensor, objective: Callable[[Tensor], Tensor], num_steps: int) -> Tensor:
    """The (12,) numbers of a pose where objective + log p(pose) is greatest, by Adam.

    Args:
        start: (12,), float64.
        objective: (12,) -> nats per voxel, of which `NUM_INDEPENDENT` are independent.
        num_steps: Of Adam.
    """
    u = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([u], betas=(0.9, 0.9))
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / num_steps)
        top = objective(u) - 0.5 * u.square().sum() / NUM_INDEPENDENT
        optimizer.zero_grad()
        (-top).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return u.detach()


def log_on_grid(location: LocationPrior, prob: Tensor, floor: float) -> Tensor:
    """(1, C, V) probabilities inside the mask, background first -> (1, C, D, H, W) log, floored."""
    grid = location.scatter(prob, 0.0)
    grid[:, 0] += 1 - grid.sum(1)  # outside the mask background is certain
    return grid.clamp_min(floor).log()


def pose_of(pose_prior: PosePrior, u: Tensor, center_mm: NDArray[np.float64]) -> Tensor:
    """(12,) standard normal numbers -> (4, 4) native_from_prior; `PosePrior.poses`, with gradients.

    Args:
        pose_prior: What the numbers are standard in.
        u: (12,), float64.
        center_mm: (3,) middle of the image.
    """
    mean, factor = torch.tensor(pose_prior.mean), torch.tensor(pose_prior.factor)
    numbers = mean.double() + factor.double() @ u
    origin_mm = numbers[9:] + torch.from_numpy(center_mm)
    rows = torch.cat([numbers[:9].view(3, 3), origin_mm[:, None]], dim=1)
    return torch.cat([rows, rows.new_tensor([[0.0, 0.0, 0.0, 1.0]])])


def log_prior_at(log_atlas: Tensor, grid: Grid, places_mm: Tensor, poses: Tensor) -> Tensor:
    """An atlas at places of an image, under poses.

    Args:
        log_atlas: (1, C, D, H, W) log probability of labels or classes.
        grid: Prior space.
        places_mm: (N, 3) in world axes of the image, float64.
        poses: (P, 4, 4) native_from_prior, float64.

    Returns:
        (P, C, N), float32, each place normalised.
    """
    linear, origin_mm = poses[:, :3, :3], poses[:, :3, 3]
    prior_mm = torch.linalg.solve(linear, (places_mm - origin_mm[:, None]).transpose(1, 2))
    to_voxel = torch.from_numpy(np.linalg.inv(grid.affine))
    voxel = to_voxel[:3, :3] @ prior_mm + to_voxel[:3, 3:]
    unit = to_unit(voxel, torch.Size(grid.shape)).transpose(1, 2).float()
    at = F.grid_sample(
        log_atlas.expand(len(poses), -1, -1, -1, -1),
        unit[:, :, None, None],
        padding_mode="border",
        align_corners=True,
    )
    return at[..., 0, 0].log_softmax(1)
