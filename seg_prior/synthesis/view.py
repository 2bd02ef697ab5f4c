"""What a synthetic scan shows of its anatomy: whole, stripped, without air or face, or cut."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional as F

from seg_prior.config.synthesis import SynthesisConfig, View
from seg_prior.core.grid import Grid
from seg_prior.synthesis.fields import choose, happens, smooth_field, uniform
from seg_prior.synthesis.sources import Sources

Mask = NDArray[np.bool_]

WITH_HEAD: tuple[View, ...] = ("whole", "zeroed", "faceless")
"""Views that show what lies outside the organ."""
_RIM = 0.045  # in sizes; of fluid that a stripping tool leaves around the structures
_RAGGED_KNOTS = 12
_FACE_TURN_DEG = (20.0, 70.0)
_FACE_SIZES = (0.5, 1.0)


def size_mm(anatomy: NDArray[np.int16], sources: Sources, spacing_mm: float) -> float:
    """Cube root of the structures' volume: 11 cm for a human brain."""
    count = np.bincount(anatomy.ravel(), minlength=len(sources))
    return spacing_mm * float(np.cbrt(count[sources.is_structure].sum()))


def sample_view(
    anatomy: NDArray[np.int16],
    sources: Sources,
    grid: Grid,
    config: SynthesisConfig,
    generator: torch.Generator,
) -> tuple[Mask, View]:
    """Which voxels are in view, and the name of the view.

    Args:
        anatomy: (D, H, W) indices of sources.
        sources: What they mean.
        grid: Isotropic; of the anatomy. Forwards in the world is y, upwards z.
        config: How often which view, and how its border looks.
        generator: Of everything random.
    """
    view = choose(config.views, generator)
    spacing_mm = float(grid.spacing_mm[0])
    in_view = np.ones(grid.shape, dtype=bool)
    if view != "whole":
        kept = _kept(anatomy, sources, spacing_mm, view)
        in_view = _bordered(kept, spacing_mm, config, generator)
    if view == "faceless":
        in_view &= ~_in_front(anatomy, sources, grid, generator)
    if view in WITH_HEAD and happens(config.cut_share, generator):
        in_view &= _cut(grid.shape, config.max_cut, generator)
    return in_view, view


def _kept(anatomy: NDArray[np.int16], sources: Sources, spacing_mm: float, view: View) -> Mask:
    """What a perfect tool would leave."""
    if view in WITH_HEAD:
        return np.asarray(anatomy > 0)
    if view == "inside":
        return np.asarray(~sources.is_outside[anatomy])
    is_structure = sources.is_structure[anatomy]
    if view == "tight":
        return np.asarray(is_structure)
    reach = max(1, round(_RIM * size_mm(anatomy, sources, spacing_mm) / spacing_mm))
    near = torch.from_numpy(is_structure).float()[None, None]
    for axis in range(3):
        kernel, padding = [1, 1, 1], [0, 0, 0]
        kernel[axis], padding[axis] = 2 * reach + 1, reach
        near = F.max_pool3d(near, kernel, stride=1, padding=padding)
    return np.asarray((near[0, 0] > 0).numpy() & ~sources.is_outside[anatomy])


def _bordered(
    kept: Mask, spacing_mm: float, config: SynthesisConfig, generator: torch.Generator
) -> Mask:
    """The mask with a smooth border that lies a little in or out of it, and strays."""
    sd_mm = spacing_mm if config.border_sd_mm is None else config.border_sd_mm
    share = ndimage.gaussian_filter(kept.astype(np.float32), sd_mm / spacing_mm, truncate=2)
    raggedness = uniform(0.0, config.max_raggedness, generator)
    if raggedness > 0:
        shape = (kept.shape[0], kept.shape[1], kept.shape[2])
        share += raggedness * smooth_field(shape, generator, _RAGGED_KNOTS).numpy()
    return np.asarray(share > uniform(0.2, 0.6, generator))


def _in_front(
    anatomy: NDArray[np.int16], sources: Sources, grid: Grid, generator: torch.Generator
) -> Mask:
    """Voxels beyond an oblique plane before and below the structures, where a face is."""
    angle = math.radians(uniform(*_FACE_TURN_DEG, generator))
    distance_mm = uniform(*_FACE_SIZES, generator)
    distance_mm *= size_mm(anatomy, sources, float(grid.spacing_mm[0]))
    normal = np.array([0.0, math.cos(angle), -math.sin(angle)])
    slope = normal @ grid.affine[:3, :3]
    i, j, k = np.ogrid[tuple(slice(n) for n in grid.shape)]
    along = slope[0] * i + slope[1] * j + slope[2] * k
    is_structure = sources.is_structure[anatomy]
    middle = float(along[is_structure].mean()) if is_structure.any() else 0.0
    return np.asarray(along - middle > distance_mm)


def _cut(shape: tuple[int, int, int], max_cut: float, generator: torch.Generator) -> Mask:
    """All but slices at one end of one axis."""
    axis = int(torch.randint(3, (1,), generator=generator))
    num = int(uniform(0.0, max_cut, generator) * shape[axis])
    index = np.arange(shape[axis])
    stays = index >= num if happens(0.5, generator) else index < shape[axis] - num
    return np.asarray(
        np.broadcast_to(stays.reshape([-1 if a == axis else 1 for a in range(3)]), shape)
    )
