"""Random anatomies from label maps: affine, smooth diffeomorphic warp, mirror image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from seg_prior.config.synthesis import AugmentConfig
from seg_prior.core.grid import MIRROR, Grid
from seg_prior.models.warp import integrate


@dataclass(frozen=True, eq=False)
class Bend:
    """A random deformation of a label map.

    Attributes:
        transform: (4, 4) world mm -> world mm; with the mirror, if it is flipped.
        warp: (3, D, H, W) displacement in voxels.
        is_flipped: Whether sides are to be swapped.
    """

    transform: Tensor
    warp: Tensor
    is_flipped: bool


def random_bend(
    grid: Grid, config: AugmentConfig, has_sides: bool, generator: torch.Generator
) -> Bend:
    """An affine, the mirror image in half of the draws if there are sides, and a warp."""
    is_flipped = config.flip and bool(torch.rand(1, generator=generator) < 0.5)
    is_flipped = is_flipped and has_sides
    transform = random_affine(config, generator)
    if is_flipped:
        transform = torch.from_numpy(MIRROR) @ transform
    warp = random_warp(grid.shape, float(grid.spacing_mm[0]), config, generator)
    return Bend(transform, warp, is_flipped)


def random_affine(config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """(4, 4) world mm -> world mm about the origin, each part normally distributed."""
    draw = torch.randn(12, generator=generator, dtype=torch.float64)
    angle = torch.deg2rad(draw[0:3] * config.rotation_sd_deg)
    rotation = torch.linalg.matrix_exp(
        torch.tensor(
            [[0, -angle[2], angle[1]], [angle[2], 0, -angle[0]], [-angle[1], angle[0], 0]],
            dtype=torch.float64,
        )
    )
    shear = torch.eye(3, dtype=torch.float64)
    shear[0, 1], shear[0, 2], shear[1, 2] = draw[3:6] * config.shear_sd
    scale = torch.exp(draw[6:9] * config.log_scale_sd)
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = rotation @ shear @ torch.diag(scale)
    affine[:3, 3] = draw[9:12] * config.shift_sd_mm
    return affine


def random_warp(
    shape: tuple[int, int, int],
    spacing_mm: float,
    config: AugmentConfig,
    generator: torch.Generator,
) -> Tensor:
    """Displacement in voxels, (3, D, H, W): a stationary velocity field, integrated.

    Velocities are white noise on two control grids, interpolated cubically, and integrated by
    scaling and squaring on a grid four times coarser than the output, so the warp is invertible.
    """
    coarse = [max(2, -(-side // 4)) for side in shape]
    velocity = torch.zeros(1, 3, *coarse)
    for knot_mm, sd_mm in zip(config.warp_knots_mm, config.warp_sd_mm, strict=True):
        knots = [max(4, round(side * spacing_mm / knot_mm) + 3) for side in shape]
        noise = torch.randn(1, 3, *knots, generator=generator) * sd_mm
        # A random strength: some anatomies stay close to their original.
        strength = torch.rand(1, generator=generator)
        velocity += strength * _smooth_upsample(noise, coarse)
    displacement = integrate(velocity / (4 * spacing_mm))  # in coarse voxels
    # Coarse voxels tile the fine grid, so that each is exactly four voxels long.
    full = F.interpolate(displacement, size=shape, mode="trilinear", align_corners=False)
    return full[0] * 4


def _smooth_upsample(noise: Tensor, size: list[int]) -> Tensor:
    """White noise on knots -> a smooth field; blurred twice, with its deviation restored."""
    kernel = torch.tensor([1.0, 4.0, 1.0]) / 6
    for axis in range(3):
        view = [1, 1, 1, 1, 1]
        view[2 + axis] = 3
        weight = kernel.view(view).expand(3, 1, *view[2:])
        padding = [0, 0, 0]
        padding[axis] = 1
        noise = F.conv3d(noise, weight, padding=padding, groups=3)
    # The kernel's squares sum to 1/2 along each axis.
    return F.interpolate(noise * 2**1.5, size=size, mode="trilinear", align_corners=True)
