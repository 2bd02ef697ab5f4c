"""Views of synthetic scans in random poses: what a locator learns from that finds any of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from seg_prior.checkpoints.file import Model
from seg_prior.config.optim import OptimConfig
from seg_prior.config.synthesis import AugmentConfig, SynthesisConfig
from seg_prior.core.grid import Grid, apply_affine
from seg_prior.models.locator import SIDES_OF, standardised
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
_VIEWS_OF_ONE = 6
"""A synthetic scan takes longer than to look at it."""
_LEAST_SEEN = 1000  # voxels


@dataclass(frozen=True, eq=False)
class _Scan:
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


class SyntheticViews(Dataset[tuple[Tensor, Tensor]]):
    """Views of synthetic scans; item n is a function of the seed and n alone.

    Args:
        maps: Label maps, in the frame of the prior.
        sources: What their indices mean.
        middle_mm: (3,) of the prior's grid.
        config: Of the scans.
        spacing_mm: Of the views; the scans are made at half of it.
        seed: Of all that is random.
        length: Of the training, in views.
        batch_size: So many views in a row have one shape.
    """

    def __init__(
        self,
        maps: Sequence[AlignedLabelMap],
        sources: Sources,
        middle_mm: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
        config: SynthesisConfig,
        spacing_mm: float,
        seed: int,
        length: int,
        batch_size: int,
    ) -> None:
        self.maps, self.sources, self.middle_mm = maps, sources, middle_mm
        self.config, self.spacing_mm, self.seed = config, spacing_mm, seed
        self.length, self.batch_size = length, batch_size
        self.grids = [grid_around(one, spacing_mm / 2) for one in maps]
        self._kept: tuple[int, _Scan] | None = None

    @classmethod
    def of(
        cls,
        labels: Sequence[Path],
        model: Model,
        config: SynthesisConfig,
        spacing_mm: float,
        seed: int,
        optim: OptimConfig,
    ) -> SyntheticViews:
        """Of label map files and a prior, for a whole training."""
        maps, sources = align_sources(labels, model, config)
        middle_mm, length = model.header.grid.center_mm, optim.steps * optim.batch_size
        return cls(maps, sources, middle_mm, config, spacing_mm, seed, length, optim.batch_size)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        """(2, D, H, W) what a locator sees, and (G, D, H, W) label probabilities there."""
        scan = self._scan(item // _VIEWS_OF_ONE)
        low, high = _SIDES
        of_batch = generator_of(self.seed + 1, item // self.batch_size)
        i, j, k = (
            SIDES_OF * int(torch.randint(low, high + 1, (1,), generator=of_batch)) for _ in range(3)
        )
        return self._view(scan, (i, j, k), generator_of(self.seed + 2, item))

    def _scan(self, number: int) -> _Scan:
        """The last one is kept: several views of one scan are asked for in a row."""
        if self._kept is None or self._kept[0] != number:
            self._kept = number, self._made(number)
        return self._kept[1]

    def _made(self, number: int) -> _Scan:
        config, sources = self.config, self.sources
        generator = generator_of(self.seed, number)
        choice = int(torch.randint(len(self.maps), (1,), generator=generator))
        grid, spacing_mm = self.grids[choice], self.spacing_mm / 2
        anatomy = sample_anatomy(self.maps[choice], sources, grid, BEND, config.ageing, generator)
        look = sample_contrast(sources, config, generator)
        data = render(anatomy, sources, look, spacing_mm, config, generator)
        in_view, _ = sample_view(anatomy, sources, grid, config, generator)
        image = torch.from_numpy(normalise(data, in_view, f"<synthetic scan {number}>"))
        weight = torch.from_numpy(in_view).float()
        pair = F.avg_pool3d(torch.stack([image * weight, weight])[None], 3, stride=1, padding=1)[0]
        labels = torch.from_numpy(sources.label[anatomy])
        return _Scan(pair, labels, grid, size_mm(anatomy, sources, spacing_mm))

    def _view(
        self, scan: _Scan, shape: tuple[int, int, int], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """(2, *shape) and (G, *shape) of a scan in a random pose."""
        pose = random_affine(POSE, generator).numpy()
        shift = [scan.size_mm * uniform(*bounds, generator) for bounds in _SHIFTS]
        affine = np.eye(4)
        affine[:3, :3] = np.linalg.inv(pose)[:3, :3] * self.spacing_mm
        affine[:3, 3] = self.middle_mm + shift - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
        place = _places(Grid(shape, affine), scan.grid)
        size = torch.tensor(scan.grid.shape)
        unit = ((2 * place + 1) / size - 1).flip(-1)[None]
        total, share = F.grid_sample(scan.pair[None], unit, align_corners=False)[0]
        in_view = share >= 0.5
        if in_view.sum() < _LEAST_SEEN:
            in_view = torch.ones_like(in_view)
        image = torch.where(in_view, total / share.clamp_min(0.5), 0.0)
        labels = _shares(scan.labels, place, self.sources.num_labels)
        return standardised(image, in_view.float()), labels


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
