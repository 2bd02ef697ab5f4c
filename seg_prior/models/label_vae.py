"""The anatomical prior: a variational autoencoder of label maps with a categorical decoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_prior.config import VAEConfig
from seg_prior.models.blocks import ResidualBlock, double, halve
from seg_prior.models.location import CELL, LocationPrior
from seg_prior.models.warp import integrate

KNOT_SD = 0.75
"""Voxels of prior space that one unit of the first three channels of z moves their place by."""
FORCE_SD = 0.02
"""Typical size of the mean force on a latent cell, which the encoder works in units of."""
FORCE_GAIN = 0.7
"""Of z on force before training: measured on random anatomies it explains a third of the nats."""
COARSENING = 8
"""Voxels of prior space along one edge of a latent cell; grid sides are multiples of it."""


class LabelEncoder(nn.Module):
    """q(z | s): a Gaussian over the latent from (soft) labels.

    z is a field of C channels on a grid 8 x coarser than prior space, flattened to K numbers. The
    network sees the location prior beside the labels: which way a structure has moved is a
    comparison.
    """

    def __init__(self, location: LocationPrior, config: VAEConfig) -> None:
        super().__init__()
        fine, middle, coarse = config.widths
        self.half_shape = _coarser(location.shape, 2)
        self.stem = nn.Linear(location.num_labels * CELL, fine)
        self.stem_expected = nn.Linear(location.num_labels * CELL, fine, bias=False)
        self.stem_force = nn.Linear(3 * CELL, fine, bias=False)
        # Before any training q already looks where the labels are.
        self.force_gain = nn.Parameter(torch.tensor(FORCE_GAIN))
        self.down = nn.Sequential(
            halve(fine, middle),
            *[ResidualBlock(middle) for _ in range(config.num_blocks)],
            halve(middle, coarse),
            *[ResidualBlock(coarse) for _ in range(config.num_blocks)],
            nn.GroupNorm(coarse // 8, coarse),
            nn.SiLU(),
        )
        self.head = nn.Conv3d(coarse, 2 * config.latent_channels, 1)
        # Training starts with a narrow q, so that the decoder learns to listen to z.
        assert self.head.bias is not None
        with torch.no_grad():
            self.head.bias[config.latent_channels :] = -4.0

    def forward(self, soft_labels: Tensor, location: LocationPrior) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q.

        Args:
            soft_labels: (B, L, V) label probabilities; a one-hot map for known labels.
            location: Where the V voxels lie.

        Returns:
            mean, log_var: (B, K), float32.
        """
        batch = soft_labels.shape[0]
        expected = location.log_prob.exp()[None]
        force = _by_cell(location.force(soft_labels))  # (B, V/8, 3*8)
        features = self.stem(_by_cell(soft_labels)) + self.stem_expected(_by_cell(expected))
        features = F.silu(features + self.stem_force(force / FORCE_SD))  # (B, V/8, fine)
        cells = torch.cat([features, force.view(*force.shape[:2], 3, CELL).mean(3)], dim=2)
        grid = cells.new_zeros(batch, math.prod(self.half_shape), cells.shape[2])
        grid[:, location.cells] = cells
        grid = grid.transpose(1, 2).reshape(batch, -1, *self.half_shape)
        mean, log_var = self.head(self.down(grid[:, :-3])).float().chunk(2, dim=1)
        push = self.force_gain * F.avg_pool3d(grid[:, -3:].float(), COARSENING // 2) / FORCE_SD
        mean = torch.cat([mean[:, :3] + push, mean[:, 3:]], dim=1)
        return mean.flatten(1), log_var.flatten(1).clamp(-12.0, 4.0)


class LabelDecoder(nn.Module):
    """f(z): the location prior, moved by a smooth warp, plus residual logits; both depend on z.

    The warp says where structures lie and how large they are, which a few label maps teach well;
    the residual says what a warp cannot: appearing folds, sharper borders, lesions of a labelling.
    """

    def __init__(self, location: LocationPrior, config: VAEConfig) -> None:
        super().__init__()
        fine, middle, coarse = config.widths
        self.latent_shape = (config.latent_channels, *_coarser(location.shape, COARSENING))
        self.stem = nn.Conv3d(config.latent_channels, coarse, 1)
        # Anatomy has an address: the same z means another thing at another place.
        self.position = nn.Parameter(torch.randn(1, coarse, *self.latent_shape[1:]) * 0.1)
        self.to_middle = nn.Sequential(
            *[ResidualBlock(coarse) for _ in range(config.num_blocks)],
            double(coarse, middle),
            *[ResidualBlock(middle) for _ in range(config.num_blocks)],
        )
        self.velocity = nn.Sequential(
            nn.GroupNorm(middle // 8, middle), nn.SiLU(), nn.Conv3d(middle, 3, 3, padding=1)
        )
        # The first three channels of z are, before any training, a velocity at their place: a
        # smooth random warp of KNOT_SD voxels. Training bends it to what anatomies do.
        self.knot_sd = nn.Parameter(torch.full((1, 3, *self.latent_shape[1:]), KNOT_SD))
        self.to_fine = double(middle, fine)
        self.residual = nn.Sequential(
            nn.LayerNorm(fine), nn.SiLU(), nn.Linear(fine, location.num_labels * CELL)
        )
        # Step zero is the atlas itself: no warp, no residual.
        for head in (self.velocity, self.residual):
            last = head[-1]
            assert isinstance(last, nn.Conv3d | nn.Linear)
            assert last.bias is not None
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, z: Tensor, location: LocationPrior) -> Tensor:
        """log f(z).

        Args:
            z: (B, K).
            location: Where the V voxels lie, and log p_loc.

        Returns:
            (B, L, V) log probabilities, float32, each voxel normalised.
        """
        batch = z.shape[0]
        z = z.view(batch, *self.latent_shape)
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
            moved = location.sample_moved(displacement)
        cells = self.to_fine(middle).flatten(2).index_select(2, location.cells).transpose(1, 2)
        logits = self.residual(cells).float()  # (B, V/8, L*8)
        logits = logits.unflatten(2, (location.num_labels, CELL)).permute(0, 2, 1, 3).flatten(2)
        return torch.log_softmax(logits + moved, dim=1)


class LabelVAE(nn.Module):
    """q(z | s) and f(z) over one location prior."""

    def __init__(self, location: LocationPrior, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.location = location
        self.encoder = LabelEncoder(location, config)
        self.decoder = LabelDecoder(location, config)

    @property
    def num_latents(self) -> int:
        """K."""
        return math.prod(self.decoder.latent_shape)

    def encode(self, soft_labels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, V) label probabilities -> mean, log_var of q(z | s), each (B, K)."""
        mean, log_var = self.encoder(soft_labels, self.location)
        return mean, log_var

    def decode(self, z: Tensor) -> Tensor:
        """(B, K) -> (B, L, V) log f(z)."""
        log_prior: Tensor = self.decoder(z, self.location)
        return log_prior

    def forward(self, label_map: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One pass of stage 1, as the training loop calls it.

        Args:
            label_map: (B, V) label indices.
            noise: (B, K) standard normal; zeros give the reconstruction at the mean.

        Returns:
            log_prior (B, L, V), mean (B, K), log_var (B, K).
        """
        soft_labels = one_hot(label_map, self.location.num_labels)
        mean, log_var = self.encode(soft_labels)
        return self.decode(mean + torch.exp(log_var / 2) * noise), mean, log_var


def _by_cell(values: Tensor) -> Tensor:
    """(B, L, V) -> (B, V / 8, L * 8)."""
    batch, num_labels, num_voxels = values.shape
    return values.view(batch, num_labels, num_voxels // CELL, CELL).permute(0, 2, 1, 3).flatten(2)


def one_hot(label_map: Tensor, num_labels: int) -> Tensor:
    """(B, V) indices -> (B, L, V) float32."""
    batch, num_voxels = label_map.shape
    out = torch.zeros(batch, num_labels, num_voxels, device=label_map.device)
    return out.scatter_(1, label_map[:, None].long(), 1.0)


def _coarser(shape: tuple[int, int, int], factor: int) -> tuple[int, int, int]:
    assert all(side % factor == 0 for side in shape), (shape, factor)
    return shape[0] // factor, shape[1] // factor, shape[2] // factor
