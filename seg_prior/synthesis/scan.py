"""A painted scan: a random anatomy on a grid of its own, in a random contrast and pose."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from seg_prior.config.synthesis import AugmentConfig, PaintConfig
from seg_prior.core.grid import MIRROR, Affine, Grid
from seg_prior.core.labels import LabelTable
from seg_prior.core.volume import Volume
from seg_prior.synthesis.anatomies import AlignedLabelMap, sample_labels
from seg_prior.synthesis.deformation import random_affine, random_warp
from seg_prior.synthesis.render import render

CONTRASTS = ("straight", "inverted", "tent")
"""Of the typical intensities, those of T1w for a brain: as they are, upside down (T2w), and
brightest in the middle (FLAIR)."""

_MARGIN = 0.08  # of the anatomy's extent, on each side of it
_TURN_SD_DEG = 8.0
# In sizes, the cube root of the structures' volume: 11 cm for a human brain.
_SHIFT_SD = 0.15
_RIM = 0.045  # of fluid that a stripping tool leaves around the structures


@dataclass(frozen=True, eq=False)
class PaintedScan:
    """A scan whose anatomy is known.

    Attributes:
        volume: Intensities, 0 outside the field of view; axes in random order and direction.
        indices: (I, J, K) uint8, the label index of every voxel.
        contrast: One of CONTRASTS.
    """

    volume: Volume
    indices: NDArray[np.uint8]
    contrast: str


def centered(indices: Tensor, grid: Grid) -> AlignedLabelMap:
    """A label map (I, J, K), with the middle of its anatomy moved to the world's origin."""
    low, high = _bounds(indices)
    to_origin = np.eye(4)
    to_origin[:3, 3] = -(grid.affine[:3, :3] @ ((low + high) / 2) + grid.affine[:3, 3])
    return AlignedLabelMap(indices, grid, to_origin)


def paint_scan(
    label_map: AlignedLabelMap,
    typical: Tensor,
    table: LabelTable,
    spacing_mm: float,
    augment: AugmentConfig,
    paint: PaintConfig,
    generator: torch.Generator,
) -> PaintedScan:
    """Deform a label map, paint it in a random contrast, lay it down in a random pose.

    Args:
        label_map: Its anatomy lies around the world's origin.
        typical: (L,) relative intensity of every label, 0..1.
        table: Of the label map; says which labels are anatomy, and which pair up.
        spacing_mm: Of the scan; isotropic.
        augment: Spread of the anatomy; `flip` mirrors half of them.
        paint: Spread of the image; its lengths are in voxels of the scan.
        generator: Of everything random.
    """
    grid = _grid_around(label_map, spacing_mm)
    transform = random_affine(augment, generator)
    is_flipped = augment.flip and bool(torch.rand(1, generator=generator) < 0.5)
    is_flipped = is_flipped and table.has_sides
    if is_flipped:
        transform = torch.from_numpy(MIRROR) @ transform
    warp = random_warp(grid.shape, spacing_mm, augment, generator)
    labels = sample_labels(label_map, grid, transform, warp)
    if is_flipped:
        labels = torch.from_numpy(table.partner.astype(np.uint8))[labels.long()]
    contrast = CONTRASTS[int(torch.randint(len(CONTRASTS), (1,), generator=generator))]
    mean = shade(typical, contrast, generator)
    label_sd = paint.max_label_sd * torch.rand(1, generator=generator)
    mean = mean + label_sd * torch.randn(mean.numel(), generator=generator)
    size_mm = spacing_mm * float(table.is_structure[labels.numpy()].sum()) ** (1 / 3)
    kept = _kept(labels, table.is_structure, max(1, round(_RIM * size_mm / spacing_mm)))
    image, in_view = render(labels.long(), kept, mean, paint, generator)
    data = as_scanned(image, in_view)
    data, indices, affine = _in_random_order(data, labels.numpy(), grid.affine, generator)
    pose = AugmentConfig(
        rotation_sd_deg=_TURN_SD_DEG, shear_sd=0, log_scale_sd=0, shift_sd_mm=_SHIFT_SD * size_mm
    )
    affine = random_affine(pose, generator).numpy() @ affine
    i, j, k = data.shape
    volume = Volume(data, Grid((i, j, k), affine), source=f"<painted, {contrast}>")
    return PaintedScan(volume, indices, contrast)


def as_scanned(image: Tensor, in_view: Tensor) -> NDArray[np.float32]:
    """Intensities of a scanner: positive, so that the 0 outside the field of view is told apart."""
    data = torch.where(in_view, 1000 * (image - image[in_view].min()) + 1, 0.0)
    return np.asarray(data.numpy())


def shade(typical: Tensor, contrast: str, generator: torch.Generator) -> Tensor:
    """(L,) means of a contrast: typical intensities through a random curve.

    Args:
        typical: (L,), 0..1.
        contrast: One of CONTRASTS.
        generator: Of the curve: a power, for `tent` also the place of its top.
    """
    power = math.exp(0.3 * float(torch.randn(1, generator=generator)))
    mean = typical.clamp(0, 1).pow(power)
    if contrast == "inverted":
        mean = 1 - mean
    elif contrast == "tent":
        top = 0.5 + 0.2 * float(torch.rand(1, generator=generator))
        mean = 1 - (typical - top).abs() / max(top, 1 - top)
    return mean


def _kept(labels: Tensor, is_structure: NDArray[np.bool_], reach: int) -> Tensor:
    """(D, H, W) bool: the structures, and what anatomy lies within so many voxels of them."""
    near = torch.from_numpy(is_structure)[labels.long()].float()[None, None]
    for axis in range(3):
        kernel, padding = [1, 1, 1], [0, 0, 0]
        kernel[axis], padding[axis] = 2 * reach + 1, reach
        near = F.max_pool3d(near, kernel, stride=1, padding=padding)
    return (near[0, 0] > 0) & (labels > 0)


def _bounds(indices: Tensor) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """First and last voxel with anatomy along each axis, (3,) each."""
    place = np.nonzero(indices.numpy())
    return np.array([p.min() for p in place]), np.array([p.max() for p in place])


def _grid_around(label_map: AlignedLabelMap, spacing_mm: float) -> Grid:
    """A grid along the label map's axes that holds its anatomy, also when it is deformed a little.

    Sides are multiples of 4, which the warp is made for.
    """
    low, high = _bounds(label_map.indices)
    affine = label_map.prior_from_native @ label_map.grid.affine
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True)), -1).reshape(-1, 3)
    world = corners @ affine[:3, :3].T + affine[:3, 3]
    reach = (1 + 2 * _MARGIN) * np.abs(world).max(axis=0) + 2 * spacing_mm
    i, j, k = (int(4 * math.ceil(2 * r / spacing_mm / 4)) for r in reach)
    matrix = np.diag([spacing_mm] * 3 + [1.0])
    matrix[:3, 3] = -spacing_mm * (np.array([i, j, k]) - 1) / 2
    return Grid((i, j, k), matrix)


def _in_random_order(
    data: NDArray[np.float32],
    indices: NDArray[np.uint8],
    affine: Affine,
    generator: torch.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.uint8], Affine]:
    """Axes in random order and direction; every voxel stays where it is in the world."""
    order = torch.randperm(3, generator=generator).tolist()
    signs = torch.randint(2, (3,), generator=generator).tolist()
    affine = affine.copy()
    for axis in range(3):
        if signs[axis]:
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:3, axis] *= -1
            data, indices = np.flip(data, axis), np.flip(indices, axis)
    affine = affine[:, [*order, 3]]
    data, indices = data.transpose(order), indices.transpose(order)
    return np.ascontiguousarray(data), np.ascontiguousarray(indices), affine
