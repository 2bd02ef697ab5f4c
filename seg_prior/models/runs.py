"""All labels of some voxels at once, so that no array of all labels and all voxels is ever made."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_RUN = 1 << 14
"""Voxels whose labels are looked at at once: of a brain every array of all is 50 MB."""


def summed(values: Tensor, sum_of_row: Tensor, num_sums: int) -> Tensor:
    """(B, N, V) -> (B, num_sums, V): rows of one sum added up.

    Args:
        values: The rows.
        sum_of_row: (N,), to which sum each belongs.
        num_sums: How many there are.
    """
    batch, _, num_voxels = values.shape
    return values.new_zeros(batch, num_sums, num_voxels).index_add_(1, sum_of_row, values)


def runs(num_voxels: int) -> list[slice]:
    """Of whole cells, so few voxels that what is made of all their labels stays small."""
    return [slice(start, start + _RUN) for start in range(0, num_voxels, _RUN)]


def in_runs(of: Callable[[slice], Tensor], num_voxels: int) -> Tensor:
    """(B, N, V) of (B, N, n) of one run after the other.

    Without a gradient each goes to its place at once, and all of them are never there twice.

    Args:
        of: What to make of some voxels.
        num_voxels: V, at least 1.
    """
    first, *others = runs(num_voxels)
    part = of(first)
    if part.requires_grad:
        return torch.cat([part, *(of(some) for some in others)], dim=-1)
    out = part.new_empty(*part.shape[:-1], num_voxels)
    out[..., first] = part
    for some in others:
        out[..., some] = of(some)
    return out
