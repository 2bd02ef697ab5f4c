"""Cells of the anatomy mask, blocks of 2 x 2 x 2 voxels, and where their voxels lie on the grid."""

from __future__ import annotations

import torch
from torch import Tensor

CELL = 8
"""Voxels in one cell; the anatomy mask is made of whole cells."""


def flat_index(cells: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """(V,) flat full-grid index of every voxel, cell by cell."""
    _, height, width = shape
    half_h, half_w = height // 2, width // 2
    d, h, w = cells // (half_h * half_w), cells // half_w % half_h, cells % half_w
    step = torch.arange(2, device=cells.device)
    dd = (2 * d)[:, None, None, None] + step[:, None, None]
    hh = (2 * h)[:, None, None, None] + step[None, :, None]
    ww = (2 * w)[:, None, None, None] + step[None, None, :]
    return ((dd * height + hh) * width + ww).flatten()


def voxel_of(flat: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """(N,) flat indices -> (N, 3) along D, H, W."""
    # torch.unravel_index imports sympy, which takes a second.
    _, height, width = shape
    return torch.stack([flat // (height * width), flat // width % height, flat % width], dim=1)


def by_cell(values: Tensor) -> Tensor:
    """(B, C, V) -> (B, V / 8, C * 8): the eight voxels of a cell side by side."""
    batch, channels, num_voxels = values.shape
    return values.view(batch, channels, num_voxels // CELL, CELL).permute(0, 2, 1, 3).flatten(2)


def of_cells(values: Tensor, cells: Tensor | None) -> Tensor:
    """(..., V) -> (..., 8 N): the voxels of N cells; all if None."""
    if cells is None:
        return values
    return values.view(*values.shape[:-1], -1, CELL).index_select(-2, cells).flatten(-2)
