"""Diffeomorphic warps: integrate a velocity field, and sample at the displaced voxels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SQUARINGS = 5


def integrate(velocity: Tensor) -> Tensor:
    """Displacement of a stationary velocity field, by scaling and squaring [Arsigny2006].

    Args:
        velocity: (B, 3, D, H, W), in voxels of its own grid along D, H, W.

    Returns:
        (B, 3, D, H, W) displacement in the same unit; x -> x + displacement(x) is smooth and
        invertible while neighbouring velocities differ by less than 2**SQUARINGS voxels.
    """
    displacement: Tensor = velocity / 2**SQUARINGS
    index = _index(velocity)
    for _ in range(SQUARINGS):
        position = to_unit(index + displacement, velocity.shape[2:]).movedim(1, -1)
        displacement = displacement + F.grid_sample(
            displacement, position, padding_mode="border", align_corners=True
        )
    return displacement


def to_unit(index: Tensor, shape: torch.Size) -> Tensor:
    """(B, 3, ...) voxel index along D, H, W -> what `grid_sample` wants: W, H, D in [-1, 1]."""
    size = torch.tensor([n - 1 for n in shape], device=index.device, dtype=index.dtype)
    return (2 * index / size.view(1, 3, *[1] * (index.dim() - 2)) - 1).flip(1)


def _index(field: Tensor) -> Tensor:
    """(1, 3, D, H, W): every voxel's own index."""
    axes = [torch.arange(n, device=field.device, dtype=field.dtype) for n in field.shape[2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
