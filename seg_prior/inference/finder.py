"""Where the anatomy lies in any field of view: a locator's labels, laid on the prior's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_prior.core.grid import Grid, apply_affine
from seg_prior.core.labels import LabelTable
from seg_prior.core.pose_prior import Floats
from seg_prior.inference.locator_likelihood import LEAST_SEEN, densest, sight_grid
from seg_prior.models.location import LocationPrior
from seg_prior.models.locator import standardised
from seg_prior.registration.affine import Found
from seg_prior.registration.groupwise import Landmarks, find_landmarks, fit_affine
from seg_prior.registration.resample import resample_observed

_REACH = 2.4  # radii of the anatomy: what is seen farther away is taken for something else
_CENTERINGS = 5
_LEAST_OF_LABEL = 0.3  # of its volume in the atlas: a label cut off has its middle elsewhere


@dataclass(frozen=True, eq=False)
class Finder:
    """A locator whose labels say where the anatomy is, by their centroids.

    Attributes:
        see: The network: (2, D, H, W) standardised image -> (G, D, H, W) log label probabilities
            on the CPU.
        spacing_mm: Of the grid that it sees images on.
        reference: The labels of the atlas.
        is_structure: (G,) labels that leave a mark.
    """

    see: Callable[[Tensor], Tensor]
    spacing_mm: float
    reference: Landmarks
    is_structure: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        see: Callable[[Tensor], Tensor],
        spacing_mm: float,
        location: LocationPrior,
        grid: Grid,
        table: LabelTable,
    ) -> Finder:
        """A finder for the anatomy of a location prior on `grid`, its labels in groups."""
        labels = location.likeliest_group.cpu().numpy()
        reference = find_landmarks(labels, grid.affine, table.is_structure)
        return cls(see, spacing_mm, reference, table.is_structure)

    def find(
        self, image: NDArray[np.float32], observed: NDArray[np.bool_], grid: Grid
    ) -> Found | None:
        """The affine that lays the labels seen on the atlas', and how much of the view is anatomy.

        Args:
            image, observed: (I, J, K), normalised intensity and field of view.
            grid: Of the image.

        Returns:
            None where the network sees hardly any of the anatomy.
        """
        seen_on = sight_grid(grid, self.spacing_mm)
        pair = resample_observed(torch.from_numpy(image), torch.from_numpy(observed), grid, seen_on)
        in_view = pair[1].numpy() > 0.5
        labels = self.see(standardised(*pair))[:, torch.from_numpy(in_view)].exp().numpy()
        world_mm = apply_affine(seen_on.affine, np.argwhere(in_view))
        landmarks = self._landmarks(labels, world_mm, seen_on.voxel_volume_mm3)
        if landmarks is None:
            return None
        share = 1 - float(labels[0].mean())
        return Found(fit_affine(landmarks, self.reference), share)

    def _landmarks(
        self, labels: NDArray[np.float32], world_mm: Floats, voxel_mm3: float
    ) -> Landmarks | None:
        """Of (G, N) probabilities at (N, 3) places."""
        anatomy = labels[self.is_structure].sum(0).astype(np.float64)
        center_mm = densest(world_mm, anatomy, self.reference.radius_mm)
        for _ in range(_CENTERINGS):
            near = np.linalg.norm(world_mm - center_mm, axis=1) < _REACH * self.reference.radius_mm
            center_mm = anatomy[near] @ world_mm[near] / max(anatomy[near].sum(), 1e-12)
        weight = labels[:, near].astype(np.float64)
        places = world_mm[near]
        volumes = weight.sum(1) * voxel_mm3
        known = self.reference.volumes_mm3
        if volumes[self.is_structure].sum() < LEAST_SEEN * known[self.is_structure].sum():
            return None
        is_used = self.is_structure & (volumes > _LEAST_OF_LABEL * known)
        centroids = np.full((len(volumes), 3), np.nan)
        centroids[is_used] = (weight[is_used] @ places) / weight[is_used].sum(1, keepdims=True)
        mass = weight[self.is_structure].sum(0)
        middle = mass @ places / mass.sum()
        radius = np.sqrt(mass @ ((places - middle) ** 2).sum(axis=1) / mass.sum())
        return Landmarks(centroids, volumes, middle, float(radius))
