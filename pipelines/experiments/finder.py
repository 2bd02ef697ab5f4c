"""The network that finds an organ in any view of it, taught by synthetic scans in random poses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from experiments.readings import Spread
from experiments.schooling import Losses, Schooling, school
from seg_prior.checkpoints.file import Model
from seg_prior.config.synthesis import AugmentConfig
from seg_prior.core.device import autocast
from seg_prior.core.grid import Grid, apply_affine
from seg_prior.models.locator import SIDES_OF, Locator, standardised
from seg_prior.registration.intensity import normalise
from seg_prior.synthesis.ageing import sample_anatomy
from seg_prior.synthesis.anatomies import AlignedLabelMap, generator_of
from seg_prior.synthesis.contrast import sample_contrast
from seg_prior.synthesis.deformation import random_affine
from seg_prior.synthesis.fields import uniform
from seg_prior.synthesis.render import render
from seg_prior.synthesis.sources import Sources
from seg_prior.synthesis.view import sample_view, size_mm
from seg_prior.training.align import align_sources
from seg_prior.training.losses import locator_losses

BEND = AugmentConfig(
    rotation_sd_deg=0, shear_sd=0.02, log_scale_sd=0.06, shift_sd_mm=0, warp_sd_mm=(4.0, 2.0)
)
"""How heads differ."""
POSE = AugmentConfig(rotation_sd_deg=12.0, shear_sd=0.02, log_scale_sd=0.05, shift_sd_mm=0)
"""How they lie in an image."""
_MARGIN_MM = 8.0
_SHIFTS = ((-0.23, 0.23), (-0.27, 0.27), (-0.36, 0.27))
"""Of the middle of a view along x, y and z, in sizes: much of the neck is in view, or none."""
_SIDES = (5, 8)
"""Smallest and largest of a view, in units of `SIDES_OF`."""
_STEPS_OF_ONE = 3
_VIEWS_OF_STEP = 2
_LEAST_SEEN = 1000  # voxels


@dataclass(frozen=True, eq=False)
class _Painted:
    """A synthetic scan.

    Attributes:
        pair: (2, I, J, K) image times field of view, and field of view, blurred.
        labels: (I, J, K) labels of results.
        grid: Of both.
        size_mm: Of the structures.
    """

    pair: Tensor
    labels: Tensor
    grid: Grid
    size_mm: float


class Views:
    """Batches of views; number n is a function of the seed and n alone.

    Args:
        maps: Label maps, in the frame of the prior.
        sources: What their indices mean.
        middle_mm: (3,) of the prior's grid.
        spread: Of the scans.
        spacing_mm: Of the views; the scans are painted at half of it.
    """

    def __init__(
        self,
        maps: Sequence[AlignedLabelMap],
        sources: Sources,
        middle_mm: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
        spread: Spread,
        spacing_mm: float,
    ) -> None:
        self.maps, self.sources, self.middle_mm = maps, sources, middle_mm
        self.spread, self.spacing_mm = spread, spacing_mm
        self.grids = [grid_around(one, spacing_mm / 2) for one in maps]
        self._painted = lru_cache(maxsize=1)(self._paint)

    @classmethod
    def of(cls, labels: Sequence[Path], model: Model, spread: Spread, spacing_mm: float) -> Views:
        """Of label map files and a prior; the spread's own anatomies are replaced by `BEND`."""
        maps, sources = align_sources(labels, model, spread.synthesis)
        spread = replace(spread, augment=BEND)
        return cls(maps, sources, model.header.grid.center_mm, spread, spacing_mm)

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """(2, 2, D, H, W) what a locator sees, and (2, G, D, H, W) label probabilities there."""
        painted = self._painted(number // _STEPS_OF_ONE)
        generator = generator_of(self.spread.seed + 1, number)
        low, high = _SIDES
        i, j, k = (
            SIDES_OF * int(torch.randint(low, high + 1, (1,), generator=generator))
            for _ in range(3)
        )
        views = [self._view(painted, (i, j, k), generator) for _ in range(_VIEWS_OF_STEP)]
        return torch.stack([view[0] for view in views]), torch.stack([view[1] for view in views])

    def _paint(self, number: int) -> _Painted:
        config, sources = self.spread.synthesis, self.sources
        generator = generator_of(self.spread.seed, number)
        choice = int(torch.randint(len(self.maps), (1,), generator=generator))
        grid, spacing_mm = self.grids[choice], self.spacing_mm / 2
        anatomy = sample_anatomy(
            self.maps[choice], sources, grid, self.spread.augment, config.ageing, generator
        )
        look = sample_contrast(sources, config, generator)
        data = render(anatomy, sources, look, spacing_mm, config, generator)
        in_view, _ = sample_view(anatomy, sources, grid, config, generator)
        image = torch.from_numpy(normalise(data, in_view, f"<synthetic scan {number}>"))
        weight = torch.from_numpy(in_view).float()
        pair = F.avg_pool3d(torch.stack([image * weight, weight])[None], 3, stride=1, padding=1)[0]
        labels = torch.from_numpy(sources.label[anatomy])
        return _Painted(pair, labels, grid, size_mm(anatomy, sources, spacing_mm))

    def _view(
        self, painted: _Painted, shape: tuple[int, int, int], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """(2, *shape) and (G, *shape) of a scan in a random pose."""
        pose = random_affine(POSE, generator).numpy()
        shift = [painted.size_mm * uniform(*bounds, generator) for bounds in _SHIFTS]
        affine = np.eye(4)
        affine[:3, :3] = np.linalg.inv(pose)[:3, :3] * self.spacing_mm
        affine[:3, 3] = self.middle_mm + shift - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
        place = _places(Grid(shape, affine), painted.grid)
        size = torch.tensor(painted.grid.shape)
        unit = ((2 * place + 1) / size - 1).flip(-1)[None]
        total, share = F.grid_sample(painted.pair[None], unit, align_corners=False)[0]
        in_view = share >= 0.5
        if in_view.sum() < _LEAST_SEEN:
            in_view = torch.ones_like(in_view)
        image = torch.where(in_view, total / share.clamp_min(0.5), 0.0)
        labels = _shares(painted.labels, place, self.sources.num_labels)
        return standardised(image, in_view.float()), labels


def train_finder(
    locator: Locator, views: Views, plan: Schooling, folder: Path, request: str
) -> int:
    """Teach a locator in place; steps done. As `school`."""

    def losses_of(step: int, share_done: float) -> Losses:
        batch = views.batch(step)
        with autocast("cpu"):
            return locator_losses(locator, batch, step)

    return school(locator, losses_of, plan, folder, request)


def grid_around(label_map: AlignedLabelMap, spacing_mm: float) -> Grid:
    """Along the prior's axes, around a whole label map; sides are multiples of 8."""
    affine = label_map.prior_from_native @ label_map.grid.affine
    corners = np.array(list(product(*((0, n - 1) for n in label_map.grid.shape))))
    world = apply_affine(affine, corners)
    low, high = world.min(0) - _MARGIN_MM, world.max(0) + _MARGIN_MM
    i, j, k = (SIDES_OF * math.ceil(float(reach) / spacing_mm / SIDES_OF) for reach in high - low)
    matrix = np.diag([spacing_mm] * 3 + [1.0])
    matrix[:3, 3] = (low + high) / 2 - spacing_mm * (np.array([i, j, k]) - 1) / 2
    return Grid((i, j, k), matrix)


def _places(view: Grid, source: Grid) -> Tensor:
    """(*view.shape, 3) of the voxels of a view, in voxels of a grid."""
    affine = torch.from_numpy(np.linalg.inv(source.affine) @ view.affine).float()
    axes = [torch.arange(n, dtype=torch.float32) for n in view.shape]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def _shares(labels: Tensor, place: Tensor, num_labels: int) -> Tensor:
    """(G, *place) share of each label in the eight voxels around each place."""
    found = torch.zeros(num_labels, *place.shape[:-1])
    size = torch.tensor(labels.shape)
    each = torch.full((1, *place.shape[:-1]), 1 / 8)
    for offset in product((-0.5, 0.5), repeat=3):
        near = (place + torch.tensor(offset)).round().long()
        is_inside = ((near >= 0) & (near < size)).all(-1)
        near = near.clamp(min=torch.zeros_like(size), max=size - 1)
        label = torch.where(is_inside, labels[near.unbind(-1)].long(), 0)
        found.scatter_add_(0, label[None], each)
    return found
