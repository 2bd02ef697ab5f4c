"""A synthetic scan: a random anatomy on a grid of its own, in a random contrast and pose."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from seg_prior.config.synthesis import AugmentConfig, Contrast, SynthesisConfig
from seg_prior.core.grid import Affine, Grid
from seg_prior.core.volume import Volume
from seg_prior.synthesis.ageing import sample_anatomy
from seg_prior.synthesis.anatomies import AlignedLabelMap
from seg_prior.synthesis.contrast import sample_contrast
from seg_prior.synthesis.deformation import random_affine
from seg_prior.synthesis.render import render
from seg_prior.synthesis.sources import Sources
from seg_prior.synthesis.view import WITH_HEAD, sample_view, size_mm

_MARGIN = 0.08  # of the anatomy's extent, on each side of it
_TURN_SD_DEG = 8.0
_SHIFT_SD = 0.15  # in sizes, the cube root of the structures' volume


@dataclass(frozen=True, eq=False)
class SyntheticScan:
    """A scan whose anatomy is known.

    Attributes:
        volume: Intensities, 0 outside the field of view; axes in random order and direction.
        indices: (I, J, K) uint8, the label index of every voxel.
        contrast: Of the intensities.
    """

    volume: Volume
    indices: NDArray[np.uint8]
    contrast: Contrast


def centered(volume: Volume, sources: Sources) -> AlignedLabelMap:
    """A label map as indices of sources, the middle of its anatomy moved to the world's origin.

    Args:
        volume: Ids, all of which are sources; some are anatomy.
        sources: What they mean.
    """
    indices, grid = sources.index(volume.data), volume.grid
    low, high = _bounds(~sources.is_outside[indices])
    to_origin = np.eye(4)
    to_origin[:3, 3] = -(grid.affine[:3, :3] @ ((low + high) / 2) + grid.affine[:3, 3])
    return AlignedLabelMap(torch.from_numpy(indices), grid, to_origin)


def synthetic_scan(
    label_map: AlignedLabelMap,
    sources: Sources,
    spacing_mm: float,
    augment: AugmentConfig,
    config: SynthesisConfig,
    generator: torch.Generator,
) -> SyntheticScan:
    """Deform and age a label map, render it in a random contrast, lay it down in a random pose.

    Args:
        label_map: Of sources; its anatomy lies around the world's origin.
        sources: What its indices mean.
        spacing_mm: Of the scan; isotropic.
        augment: Spread of the anatomy.
        config: Spread of the scan.
        generator: Of everything random.
    """
    is_shown = np.ones(len(sources), dtype=bool) if _shows_head(config) else ~sources.is_outside
    is_shown[0] = False
    grid = _grid_around(label_map, is_shown[label_map.indices.numpy()], spacing_mm)
    anatomy = sample_anatomy(label_map, sources, grid, augment, config.ageing, generator)
    look = sample_contrast(sources, config, generator)
    image = render(anatomy, sources, look, spacing_mm, config, generator)
    in_view, _ = sample_view(anatomy, sources, grid, config, generator)
    data, indices, affine = _in_random_order(
        as_scanned(image, in_view), sources.label[anatomy], grid.affine, generator
    )
    pose = AugmentConfig(
        rotation_sd_deg=_TURN_SD_DEG,
        shear_sd=0,
        log_scale_sd=0,
        shift_sd_mm=_SHIFT_SD * size_mm(anatomy, sources, spacing_mm),
    )
    affine = random_affine(pose, generator).numpy() @ affine
    i, j, k = data.shape
    volume = Volume(data, Grid((i, j, k), affine), source=f"<synthetic, {look.contrast}>")
    return SyntheticScan(volume, indices, look.contrast)


def as_scanned(image: NDArray[np.float32], in_view: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Intensities of a scanner: positive, so that the 0 outside the field of view is told apart."""
    lowest = image[in_view].min() if in_view.any() else 0.0
    return np.where(in_view, 1000 * (image - lowest) + 1, 0.0).astype(np.float32)


def _bounds(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """First and last voxel of a mask along each axis, (3,) each."""
    place = np.nonzero(mask)
    return np.array([p.min() for p in place]), np.array([p.max() for p in place])


def _shows_head(config: SynthesisConfig) -> bool:
    return any(config.views.get(view, 0) > 0 for view in WITH_HEAD)


def _grid_around(
    label_map: AlignedLabelMap, is_shown: NDArray[np.bool_], spacing_mm: float
) -> Grid:
    """A grid along the label map's axes that holds what is shown, deformed a little.

    Sides are multiples of 4, which the warp is made for.
    """
    low, high = _bounds(is_shown)
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
