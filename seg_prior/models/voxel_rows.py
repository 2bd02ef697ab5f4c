"""Values of the anatomy mask's voxels, side by side in memory, read between voxels."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

Box = tuple[slice, slice, slice]
"""Voxels of a grid."""


@dataclass(frozen=True, eq=False)
class VoxelRows:
    """C values for each voxel of a mask, and C that hold everywhere else.

    A place between voxels reads eight rows of memory; of C grids it would read 8 C numbers that lie
    apart, and take ten times as long.

    Attributes:
        rows: (V + 1, C), float32 or half; the last holds outside the mask.
        row_of_voxel: (d H W,) int32, of d planes.
        shape: (D, H, W), at least 2 each.
        first_plane: The first of the d planes, which are all where it is 0 and d is D.
    """

    rows: Tensor
    row_of_voxel: Tensor
    shape: tuple[int, int, int]
    first_plane: int = 0

    @classmethod
    def of(
        cls, rows: Tensor, voxels: Tensor, shape: tuple[int, int, int], planes: range | None = None
    ) -> Self:
        """(V + 1, C) rows, the first V at flat indices `voxels`, all in some planes or anywhere."""
        depth, height, width = shape
        planes = range(depth) if planes is None else planes
        numbers = torch.arange(len(voxels), dtype=torch.int32, device=voxels.device)
        row_of_voxel = numbers.new_full((len(planes) * height * width,), len(voxels))
        row_of_voxel[voxels - planes.start * height * width] = numbers
        return cls(rows, row_of_voxel, shape, planes.start)

    def in_planes(self, planes: range) -> VoxelRows:
        """What can be read in some planes; here everything lies in memory."""
        del planes
        return self

    def at(self, place: Tensor) -> Tensor:
        """Trilinear between voxels, the outermost repeated beyond.

        Args:
            place: (N, 3), in voxels along D, H, W; in the planes that are here.

        Returns:
            (N, C), float32.
        """
        _, height, width = self.shape
        first, num_planes = self.first_plane, len(self.row_of_voxel) // (height * width)
        start = torch.tensor([first, 0, 0], device=place.device)
        last = torch.tensor([first + num_planes, height, width], device=place.device) - 1
        place = place.clamp(min=start, max=last)
        low = torch.minimum(place.floor(), last - 1)
        rest = place - low
        d, h, w = torch.stack([1 - rest, rest], dim=1).unbind(2)  # (N, 2) each
        weight = (d[:, :, None, None] * h[:, None, :, None] * w[:, None, None, :]).flatten(1)
        corners = [(a * height + b) * width + c for a, b, c in itertools.product((0, 1), repeat=3)]
        i, j, k = (low - start).int().unbind(1)  # short indices: they are most of what is moved
        flat = ((i * height + j) * width + k)[:, None] + i.new_tensor(corners)
        found: Tensor = F.embedding_bag(
            self.row_of_voxel.index_select(0, flat.flatten()).view_as(flat),
            self.rows,
            mode="sum",
            per_sample_weights=weight.to(self.rows.dtype),
        )
        return found.float()

    def in_box(self, box: Box) -> tuple[Tensor, Tensor]:
        """(C, d, h, w) float32 values in a box, and (d, h, w) where it is outside the mask."""
        row = self.row_of_voxel.view(self.shape)[box]
        found = self.rows.index_select(0, row.flatten()).float().T
        return found.reshape(-1, *row.shape), row == len(self.rows) - 1
