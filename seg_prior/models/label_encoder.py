"""q(z | s): the network that reads labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_prior.config.networks import VAEConfig
from seg_prior.models.blocks import (
    COARSENING,
    Double,
    ResidualBlock,
    at_cells,
    channels_last,
    coarser,
    halve,
    residual_blocks,
)
from seg_prior.models.cells import CELL, by_cell
from seg_prior.models.location import LocationPrior
from seg_prior.models.runs import runs

FORCE_SD = 0.02
"""Typical size of the mean force on a latent cell, which the encoder works in units of."""
FORCE_GAIN = 0.7
"""Of z on force before training: measured on random anatomies it explains a third of the nats."""
DETAIL_LOG_VAR = -1.0


class LabelEncoder(nn.Module):
    """q(z | s): a Gaussian over the latent from (soft) labels.

    z has two parts. Its coarse part is a field of C channels on a grid 8 x coarser than prior
    space: where structures lie. Its detail is F numbers for every cell of the anatomy mask: what
    the coarse part leaves open at a border. Both come out of one U-shaped network, which sees the
    location prior beside the labels: which way a structure has moved is a comparison.
    """

    def __init__(self, location: LocationPrior, config: VAEConfig) -> None:
        super().__init__()
        fine, middle, coarse = config.widths
        self.half_shape = coarser(location.shape, 2)
        self.stem = nn.Linear(len(location.groups) * CELL, fine)
        self.stem_expected = nn.Linear(len(location.groups) * CELL, fine, bias=False)
        self.stem_force = nn.Linear(3 * CELL, fine, bias=False)
        # Before any training q already looks where the labels are.
        self.force_gain = nn.Parameter(torch.tensor(FORCE_GAIN))
        self.to_middle = nn.Sequential(halve(fine, middle), *residual_blocks(middle, config))
        self.to_coarse = nn.Sequential(halve(middle, coarse), *residual_blocks(coarse, config))
        self.head = nn.Sequential(
            nn.GroupNorm(coarse // 8, coarse),
            nn.SiLU(),
            nn.Conv3d(coarse, 2 * config.latent_channels, 1),
        )
        self.detail: DetailHead | None = None
        if config.detail_channels:
            self.detail = DetailHead(len(location.groups), config)
        # Training starts with a narrow q, so that the decoder learns to listen to z.
        _narrow(self.head[-1])
        channels_last(self)

    def forward(
        self, soft_labels: Tensor, location: LocationPrior, is_coarse: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q.

        Args:
            soft_labels: (B, L, V) label probabilities; a one-hot map for known labels.
            location: Where the V voxels lie.
            is_coarse: Whether only the coarse part is asked for; the detail is then 0.

        Returns:
            mean, log_var: (B, K), float32.
        """
        batch = soft_labels.shape[0]
        force = by_cell(location.force(soft_labels))  # (B, V/8, 3*8)
        num_voxels = soft_labels.shape[2]
        parts = [self._of_cells(some, soft_labels, location) for some in runs(num_voxels)]
        features, detail_of_residual = (torch.cat(each, dim=1) for each in zip(*parts, strict=True))
        cells = F.silu(features + self.stem_force(force / FORCE_SD))  # (B, V/8, fine)
        half = self._scatter(cells, location)
        middle = self.to_middle(half)
        coarse = self.to_coarse(middle)
        mean, log_var = self.head(coarse).float().chunk(2, dim=1)
        push = self._scatter(force.view(batch, -1, 3, CELL).mean(3), location)
        push = self.force_gain * F.avg_pool3d(push, COARSENING // 2) / FORCE_SD
        mean = torch.cat([mean[:, :3] + push, mean[:, 3:]], dim=1)
        mean, log_var = mean.flatten(1), log_var.flatten(1)
        if self.detail is not None and is_coarse:
            nothing = mean.new_zeros(batch, self.detail.num_channels * location.cells.numel())
            mean, log_var = (torch.cat([each, nothing], dim=1) for each in (mean, log_var))
        elif self.detail is not None:
            detail = self.detail(half, middle, coarse, location.cells, detail_of_residual)
            mean = torch.cat([mean, detail[0].float().flatten(1)], dim=1)
            log_var = torch.cat([log_var, detail[1].float().flatten(1)], dim=1)
        return mean, log_var.clamp(-12.0, 4.0)

    def _of_cells(
        self, some: slice, soft_labels: Tensor, location: LocationPrior
    ) -> tuple[Tensor, Tensor]:
        """What the labels of some voxels add to their cells, and their residual's detail.

        Args:
            some: Voxels, whole cells.
            soft_labels: (B, L, V).
            location: Where they lie.

        Returns:
            (B, n / 8, fine) and (B, n / 8, F); F is 0 without a detail.
        """
        # What is outside the anatomy is one to z, which would spend itself on bone.
        labels = by_cell(location.by_group(soft_labels[:, :, some]))
        expected = by_cell(location.prob_of_groups(some)[None])
        features: Tensor = self.stem(labels) + self.stem_expected(expected)
        if self.detail is None:
            return features, features[..., :0]
        return features, self.detail.project(labels - expected)

    def _scatter(self, cells: Tensor, location: LocationPrior) -> Tensor:
        """(B, V / 8, C) -> (B, C, D/2, H/2, W/2), channels last in memory, 0 outside the mask."""
        batch, _, channels = cells.shape
        grid = cells.new_zeros(batch, math.prod(self.half_shape), channels)
        grid[:, location.cells] = cells
        return grid.transpose(1, 2).reshape(batch, channels, *self.half_shape)


class DetailHead(nn.Module):
    """q of the detail: the residual projected on its main directions, and the way up of the U."""

    def __init__(self, num_groups: int, config: VAEConfig) -> None:
        super().__init__()
        fine, middle, coarse = config.widths
        self.num_channels = config.detail_channels
        self.project = nn.Linear(num_groups * CELL, config.detail_channels, bias=False)
        self.coarse_to_middle = Double(coarse, middle)
        self.middle_blocks = nn.Sequential(*residual_blocks(middle, config))
        self.middle_to_fine = Double(middle, fine)
        self.fine_block = ResidualBlock(fine)
        self.norm = nn.LayerNorm(fine)
        self.head = nn.Linear(fine, 2 * config.detail_channels)
        # Step zero is the projection alone.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        _narrow(self.head, DETAIL_LOG_VAR)

    def forward(
        self, half: Tensor, middle: Tensor, coarse: Tensor, cells: Tensor, projected: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and log variance, (B, F, V / 8) each; (B, V / 8, F) `project` of the residual."""
        middle = self.middle_blocks(middle + self.coarse_to_middle(coarse))
        fine = self.fine_block(half + self.middle_to_fine(middle))
        out = self.head(F.silu(self.norm(at_cells(fine, cells)))).transpose(1, 2)
        mean, log_var = out.chunk(2, dim=1)
        return mean + projected.transpose(1, 2), log_var


def _narrow(head: nn.Module, log_var: float = -4.0) -> None:
    """Where the second half of a head's outputs, log variances, starts."""
    assert isinstance(head, nn.Conv3d | nn.Linear)
    assert head.bias is not None
    with torch.no_grad():
        head.bias[head.bias.numel() // 2 :] = log_var
