"""f(z): the network that draws labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_prior.config.networks import VAEConfig
from seg_prior.models.blocks import (
    COARSENING,
    Double,
    at_cells,
    channels_last,
    coarser,
    residual_blocks,
)
from seg_prior.models.cells import CELL
from seg_prior.models.location import LocationPrior
from seg_prior.models.runs import in_runs
from seg_prior.models.warp import integrate

KNOT_SD = 0.75
"""Voxels of prior space that one unit of the first three channels of z moves their place by."""


class LabelDecoder(nn.Module):
    """f(z): the location prior, moved by a smooth warp, plus residual logits; both depend on z.

    The warp says where structures lie and how large they are, which a few label maps teach well;
    the residual says what a warp cannot: appearing folds, sharper borders, lesions of a labelling.
    Labels that count as one have one residual: what kind of background is outside, the location
    prior knows.
    """

    def __init__(self, location: LocationPrior, config: VAEConfig) -> None:
        super().__init__()
        fine, middle, coarse = config.widths
        self.latent_shape = (config.latent_channels, *coarser(location.shape, COARSENING))
        self.num_coarse = math.prod(self.latent_shape)
        self.detail_shape = (config.detail_channels, location.cells.numel())
        self.stem = nn.Conv3d(config.latent_channels, coarse, 1)
        # Anatomy has an address: the same z means another thing at another place.
        self.position = nn.Parameter(torch.randn(1, coarse, *self.latent_shape[1:]) * 0.1)
        self.to_middle = nn.Sequential(
            *residual_blocks(coarse, config),
            Double(coarse, middle),
            *residual_blocks(middle, config),
        )
        self.velocity = nn.Sequential(
            nn.GroupNorm(middle // 8, middle), nn.SiLU(), nn.Conv3d(middle, 3, 3, padding=1)
        )
        # The first three channels of z are, before any training, a velocity at their place: a
        # smooth random warp of KNOT_SD voxels. Training bends it to what anatomies do.
        self.knot_sd = nn.Parameter(torch.full((1, 3, *self.latent_shape[1:]), KNOT_SD))
        self.to_fine = Double(middle, fine)
        self.stem_detail: nn.Linear | None = None
        if config.detail_channels:
            self.stem_detail = nn.Linear(config.detail_channels, fine, bias=False)
            self.detail_to_logits = nn.Linear(
                config.detail_channels, len(location.groups) * CELL, bias=False
            )
        self.residual = nn.Sequential(
            nn.LayerNorm(fine),
            nn.SiLU(),
            nn.Linear(fine, fine),
            nn.SiLU(),
            nn.Linear(fine, len(location.groups) * CELL),
        )
        # Step zero is the atlas itself: no warp, no residual.
        for head in (self.velocity, self.residual):
            last = head[-1]
            assert isinstance(last, nn.Conv3d | nn.Linear)
            assert last.bias is not None
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        channels_last(self)

    @property
    def num_latents(self) -> int:
        """K: C for each block of 8 x 8 x 8 voxels, then F for each cell of the mask."""
        return self.num_coarse + math.prod(self.detail_shape)

    def forward(self, z: Tensor, location: LocationPrior, cells: Tensor | None = None) -> Tensor:
        """log f(z).

        Args:
            z: (B, K).
            location: Where the V voxels lie, and log p_loc.
            cells: (N,) which cells of the mask; all if None.

        Returns:
            (B, L, V), or (B, L, 8 N) of the chosen cells: log probabilities, float32, each voxel
            normalised.
        """
        batch = z.shape[0]
        detail = z[:, self.num_coarse :].view(batch, *self.detail_shape)
        z = z[:, : self.num_coarse].view(batch, *self.latent_shape)
        z = z.contiguous(memory_format=torch.channels_last_3d)
        middle = self.to_middle(self.stem(z) + self.position)
        with torch.autocast(z.device.type, enabled=False):
            at_knots = F.interpolate(
                self.knot_sd * z[:, :3].float(),
                scale_factor=2,
                mode="trilinear",
                align_corners=False,
            )
            # A quarter-size voxel is four voxels long.
            displacement = 4 * integrate(at_knots / 4 + self.velocity(middle.float()))
            moved = location.moved_by(displacement, cells)
        places = location.cells if cells is None else location.cells[cells]
        features = at_cells(self.to_fine(middle), places)
        if self.stem_detail is not None:
            if cells is not None:
                detail = detail.index_select(2, cells)
            detail = detail.transpose(1, 2)
            logits = self.residual(features + self.stem_detail(detail)) + self.detail_to_logits(
                detail
            )
        else:
            logits = self.residual(features)

        def log_prior(some: slice) -> Tensor:  # (B, n/8, G*8) -> (B, G, n) -> (B, L, n)
            own = logits[:, some.start // CELL : some.stop // CELL].float()
            own = own.unflatten(2, (-1, CELL)).permute(0, 2, 1, 3).flatten(2)
            return torch.log_softmax(location.of_labels(own) + moved(some), dim=1)

        return in_runs(log_prior, CELL * len(places))
