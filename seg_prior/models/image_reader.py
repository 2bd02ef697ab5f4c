"""q(s | x): a network that corrects f(z) by what it sees in the image, voxel by voxel.

    log f'_jl = log f_jl(z) + h_jl(x, f(z), p_loc) - log sum_m exp( log f_jm(z) + h_jm )

z knows what label maps look like, the Gaussians what tissues look like; h has learned, from
synthetic scans of bent and aged label maps, what both leave open: where a border lies that
intensities blur, and how old brains differ from the maps. It starts at zero, so a network that has
learned nothing changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_prior.config.networks import ReaderConfig
from seg_prior.models.blocks import Double, ResidualBlock, at_cells, channels_last, halve
from seg_prior.models.cells import CELL

_HIDDEN = 128
"""Channels between the features of a voxel of prior space and the logits of its eight parts."""


class ImageReader(nn.Module):
    """A U-shaped network on prior space's grid; each voxel tells of the eight it is made of.

    Args:
        num_inputs: Channels of what it sees, `reader_input.ReaderSpace.num_inputs`.
        num_groups: G, the labels of results, background included.
        config: Its form.
    """

    def __init__(self, num_inputs: int, num_groups: int, config: ReaderConfig) -> None:
        super().__init__()
        self.config = config
        self.num_groups = num_groups
        finest, fine, middle, coarse = config.widths
        on_finest, on_fine, on_middle, on_coarse = config.num_blocks
        self.stem = nn.Conv3d(num_inputs, finest, 1)
        self.finest_down = nn.Sequential(*_blocks(finest, on_finest))
        self.to_fine = nn.Sequential(halve(finest, fine), *_blocks(fine, on_fine))
        self.to_middle = nn.Sequential(halve(fine, middle), *_blocks(middle, on_middle))
        self.to_coarse = nn.Sequential(halve(middle, coarse), *_blocks(coarse, on_coarse))
        self.coarse_to_middle, self.middle_up = Double(coarse, middle), ResidualBlock(middle)
        self.middle_to_fine, self.fine_up = Double(middle, fine), ResidualBlock(fine)
        self.fine_to_finest, self.finest_up = Double(fine, finest), ResidualBlock(finest)
        self.norm = nn.LayerNorm(finest)
        self.hidden = nn.Linear(finest, _HIDDEN)
        self.head = nn.Linear(_HIDDEN, num_groups * CELL)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        channels_last(self)

    def forward(self, inputs: Tensor, voxels: Tensor) -> Tensor:
        """h at chosen voxels of prior space.

        Args:
            inputs: (1, num_inputs, D, H, W), `reader_input.features`; sides are multiples of 8, and
                at least 24.
            voxels: (N,) flat indices into D, H, W.

        Returns:
            (N, G, 8), as `residual_at`.
        """
        return self.residual_at(self.trunk(self.stem(inputs)), voxels)

    def trunk(self, stem: Tensor) -> Tensor:
        """Features of every voxel of prior space.

        Args:
            stem: (B, C, D, H, W), what `stem` makes of the input; freed as soon as it can be, since
                each array of the finest grid is 47 MB of a brain.

        Returns:
            The same shape.
        """
        finest = self.finest_down(stem.contiguous(memory_format=torch.channels_last_3d))
        del stem
        fine = self.to_fine(finest)
        middle = self.to_middle(fine)
        middle = self.middle_up(middle + self.coarse_to_middle(self.to_coarse(middle)))
        fine = self.fine_up(fine + self.middle_to_fine(middle))
        summed = self.fine_to_finest(fine).add_(finest)
        del finest
        out: Tensor = self.finest_up(summed)
        return out

    def residual_at(self, features: Tensor, voxels: Tensor) -> Tensor:
        """h at chosen voxels of prior space.

        Args:
            features: (1, C, D, H, W), from `trunk`.
            voxels: (N,) flat indices into D, H, W.

        Returns:
            (N, G, 8), float32; the eight parts of a voxel in the order of `reader_input.fold`.
        """
        logits: Tensor = self.head(self._hidden(at_cells(features, voxels)[0])).float()
        return logits.view(-1, self.num_groups, CELL)

    def residual_of_labels(self, group_of_label: Tensor) -> Callable[[Tensor], Tensor]:
        """h of labels, each its group's: (N, C) features of voxels -> (N, 8, L).

        Args:
            group_of_label: (L,).
        """
        weight, bias = (each[group_of_label].transpose(0, 1).flatten(0, 1) for each in self._heads)

        def residual(rows: Tensor) -> Tensor:
            return F.linear(self._hidden(rows), weight, bias).view(len(rows), CELL, -1)

        return residual

    def mean_residual(self, rows: Tensor) -> Tensor:
        """(N, C) features of voxels -> (N, G), h averaged over the eight parts of each."""
        weight, bias = (each.mean(1) for each in self._heads)
        return F.linear(self._hidden(rows), weight, bias)

    @property
    def _heads(self) -> tuple[Tensor, Tensor]:
        """(G, 8, hidden) weights and (G, 8) biases."""
        weight, bias = self.head.weight, self.head.bias
        return weight.view(self.num_groups, CELL, -1), bias.view(self.num_groups, CELL)

    def _hidden(self, rows: Tensor) -> Tensor:
        out: Tensor = F.silu(self.hidden(F.silu(self.norm(rows))))
        return out

    def damp(self, shares: Mapping[int, float]) -> None:
        """Keep a share of h of some groups everywhere: index of a group -> 0 to 1."""
        with torch.no_grad():
            weight = self.head.weight.view(self.num_groups, CELL, -1)
            bias = self.head.bias.view(self.num_groups, CELL)
            for group, share in shares.items():
                weight[group] *= share
                bias[group] *= share


def _blocks(width: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(width) for _ in range(count)]
