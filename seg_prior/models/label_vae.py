"""The anatomical prior: a variational autoencoder of label maps with a categorical decoder."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_prior.config import VAEConfig
from seg_prior.models.blocks import Double, ResidualBlock, channels_last, halve
from seg_prior.models.location import CELL, LocationPrior, by_cell
from seg_prior.models.warp import integrate

KNOT_SD = 0.75
"""Voxels of prior space that one unit of the first three channels of z moves their place by."""
FORCE_SD = 0.02
"""Typical size of the mean force on a latent cell, which the encoder works in units of."""
FORCE_GAIN = 0.7
"""Of z on force before training: measured on random anatomies it explains a third of the nats."""
DETAIL_GAIN, SPELL_GAIN = 2.0, 3.0
"""Of the detail on surprise, and of logits on the detail, before training: together they leave a
fifth of the nats of the atlas."""
DETAIL_LOG_VAR = -1.0
COARSENING = 8
"""Voxels of prior space along one edge of a latent cell; grid sides are multiples of it."""


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
        self.half_shape = _coarser(location.shape, 2)
        self.stem = nn.Linear(len(location.groups) * CELL, fine)
        self.stem_expected = nn.Linear(len(location.groups) * CELL, fine, bias=False)
        self.stem_force = nn.Linear(3 * CELL, fine, bias=False)
        # Before any training q already looks where the labels are.
        self.force_gain = nn.Parameter(torch.tensor(FORCE_GAIN))
        self.to_middle = nn.Sequential(halve(fine, middle), *_blocks(middle, config))
        self.to_coarse = nn.Sequential(halve(middle, coarse), *_blocks(coarse, config))
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

    def forward(self, soft_labels: Tensor, location: LocationPrior) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q.

        Args:
            soft_labels: (B, L, V) label probabilities; a one-hot map for known labels.
            location: Where the V voxels lie.

        Returns:
            mean, log_var: (B, K), float32.
        """
        batch = soft_labels.shape[0]
        # What is outside the anatomy is one to z, which would spend itself on bone.
        seen = location.by_group(soft_labels)
        force = by_cell(location.force(seen))  # (B, V/8, 3*8)
        labels, expected = by_cell(seen), by_cell(location.prob_of_group[None])
        features = self.stem(labels) + self.stem_expected(expected)
        cells = F.silu(features + self.stem_force(force / FORCE_SD))  # (B, V/8, fine)
        half = self._scatter(cells, location)
        middle = self.to_middle(half)
        coarse = self.to_coarse(middle)
        mean, log_var = self.head(coarse).float().chunk(2, dim=1)
        push = self._scatter(force.view(batch, -1, 3, CELL).mean(3), location)
        push = self.force_gain * F.avg_pool3d(push, COARSENING // 2) / FORCE_SD
        mean = torch.cat([mean[:, :3] + push, mean[:, 3:]], dim=1)
        mean, log_var = mean.flatten(1), log_var.flatten(1)
        if self.detail is not None:
            detail = self.detail(half, middle, coarse, location.cells, labels - expected)
            mean = torch.cat([mean, detail[0].float().flatten(1)], dim=1)
            log_var = torch.cat([log_var, detail[1].float().flatten(1)], dim=1)
        return mean, log_var.clamp(-12.0, 4.0)

    def _scatter(self, cells: Tensor, location: LocationPrior) -> Tensor:
        """(B, V / 8, C) -> (B, C, D/2, H/2, W/2), channels last in memory, 0 outside the mask."""
        batch, _, channels = cells.shape
        grid = cells.new_zeros(batch, math.prod(self.half_shape), channels)
        grid[:, location.cells] = cells
        return grid.transpose(1, 2).reshape(batch, channels, *self.half_shape)


class DetailHead(nn.Module):
    """q of the detail: surprise projected on its main directions, and the way up of the U."""

    def __init__(self, num_groups: int, config: VAEConfig) -> None:
        super().__init__()
        fine, middle, coarse = config.widths
        self.project = nn.Linear(num_groups * CELL, config.detail_channels, bias=False)
        self.coarse_to_middle = Double(coarse, middle)
        self.middle_blocks = nn.Sequential(*_blocks(middle, config))
        self.middle_to_fine = Double(middle, fine)
        self.fine_block = ResidualBlock(fine)
        self.norm = nn.LayerNorm(fine)
        self.head = nn.Linear(fine, 2 * config.detail_channels)
        # Step zero is the projection alone.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        _narrow(self.head, DETAIL_LOG_VAR)

    def forward(
        self, half: Tensor, middle: Tensor, coarse: Tensor, cells: Tensor, surprise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and log variance, (B, F, V / 8) each; surprise is (B, V / 8, G * 8)."""
        middle = self.middle_blocks(middle + self.coarse_to_middle(coarse))
        fine = self.fine_block(half + self.middle_to_fine(middle))
        out = self.head(F.silu(self.norm(_at_cells(fine, cells)))).transpose(1, 2)
        mean, log_var = out.chunk(2, dim=1)
        return mean + self.project(surprise).transpose(1, 2), log_var


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
        self.latent_shape = (config.latent_channels, *_coarser(location.shape, COARSENING))
        self.num_coarse = math.prod(self.latent_shape)
        self.detail_shape = (config.detail_channels, location.cells.numel())
        self.stem = nn.Conv3d(config.latent_channels, coarse, 1)
        # Anatomy has an address: the same z means another thing at another place.
        self.position = nn.Parameter(torch.randn(1, coarse, *self.latent_shape[1:]) * 0.1)
        self.to_middle = nn.Sequential(
            *_blocks(coarse, config), Double(coarse, middle), *_blocks(middle, config)
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
            self.spell = nn.Linear(config.detail_channels, len(location.groups) * CELL, bias=False)
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
            moved = location.sample_moved(displacement, cells)
        places = location.cells if cells is None else location.cells[cells]
        features = _at_cells(self.to_fine(middle), places)
        if self.stem_detail is not None:
            if cells is not None:
                detail = detail.index_select(2, cells)
            detail = detail.transpose(1, 2)
            logits = self.residual(features + self.stem_detail(detail)) + self.spell(detail)
        else:
            logits = self.residual(features)
        logits = logits.float()  # (B, V/8, G*8)
        logits = logits.unflatten(2, (-1, CELL)).permute(0, 2, 1, 3).flatten(2)
        return torch.log_softmax(location.of_labels(logits) + moved, dim=1)


class LabelVAE(nn.Module):
    """q(z | s) and f(z) over one location prior."""

    def __init__(self, location: LocationPrior, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.location = location
        self.encoder = LabelEncoder(location, config)
        self.decoder = LabelDecoder(location, config)

    def start_detail(self, basis: Tensor) -> None:
        """Let the detail begin as what `fit_surprise` found: (G * 8, F) orthonormal columns."""
        assert self.encoder.detail is not None
        with torch.no_grad():
            self.encoder.detail.project.weight.copy_(DETAIL_GAIN * basis.T)
            self.decoder.spell.weight.copy_(SPELL_GAIN * basis)

    @property
    def num_latents(self) -> int:
        """K."""
        return self.decoder.num_latents

    @property
    def num_coarse(self) -> int:
        """Of these, the first: where structures lie; the others are the detail."""
        return self.decoder.num_coarse

    def encode(self, soft_labels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, V) label probabilities -> mean, log_var of q(z | s), each (B, K)."""
        mean, log_var = self.encoder(soft_labels, self.location)
        return mean, log_var

    def decode(self, z: Tensor, cells: Tensor | None = None) -> Tensor:
        """(B, K) -> (B, L, V) log f(z), or (B, L, 8 N) at N chosen cells of the mask."""
        log_prior: Tensor = self.decoder(z, self.location, cells)
        return log_prior

    def forward(
        self, label_map: Tensor, noise: Tensor, cells: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One pass of stage 1, as the training loop calls it.

        Args:
            label_map: (B, V) label indices.
            noise: (B, K) standard normal; zeros give the reconstruction at the mean.
            cells: (N,) where to decode; everywhere if None.

        Returns:
            log_prior (B, L, V) or (B, L, 8 N), mean (B, K), log_var (B, K).
        """
        soft_labels = one_hot(label_map, self.location.num_labels)
        mean, log_var = self.encode(soft_labels)
        return self.decode(mean + torch.exp(log_var / 2) * noise, cells), mean, log_var


def fit_surprise(
    location: LocationPrior, label_maps: Iterable[Tensor], num_channels: int
) -> Tensor:
    """The main directions in which cells differ from what the location prior expects of them.

    Principal components of s - p over all cells of all maps, s one-hot: with z = gain * (s - p) on
    them, logits that rise along them undo the surprise.

    Args:
        location: The location prior.
        label_maps: (V,) label indices each; seen one at a time.
        num_channels: F.

    Returns:
        (G * 8, F), orthonormal columns.
    """
    expected = by_cell(location.prob_of_group[None])[0]
    moment = expected.new_zeros(expected.shape[1], expected.shape[1])
    for label_map in label_maps:
        seen = location.by_group(one_hot(label_map[None], location.num_labels))
        surprise = by_cell(seen)[0] - expected
        moment += surprise.T @ surprise
    vectors: Tensor = torch.linalg.eigh(moment).eigenvectors
    return vectors.flip(1)[:, :num_channels]


def _blocks(width: int, config: VAEConfig) -> list[nn.Module]:
    return [ResidualBlock(width) for _ in range(config.num_blocks)]


def _narrow(head: nn.Module, log_var: float = -4.0) -> None:
    """Where the second half of a head's outputs, log variances, starts."""
    assert isinstance(head, nn.Conv3d | nn.Linear)
    assert head.bias is not None
    with torch.no_grad():
        head.bias[head.bias.numel() // 2 :] = log_var


def _at_cells(grid: Tensor, cells: Tensor) -> Tensor:
    """(B, C, D/2, H/2, W/2) -> (B, N, C): rows of memory where channels come last."""
    return grid.movedim(1, -1).flatten(1, 3).index_select(1, cells)


def one_hot(label_map: Tensor, num_labels: int) -> Tensor:
    """(B, V) indices -> (B, L, V) float32."""
    batch, num_voxels = label_map.shape
    out = torch.zeros(batch, num_labels, num_voxels, device=label_map.device)
    return out.scatter_(1, label_map[:, None].long(), 1.0)


def _coarser(shape: tuple[int, int, int], factor: int) -> tuple[int, int, int]:
    assert all(side % factor == 0 for side in shape), (shape, factor)
    return shape[0] // factor, shape[1] // factor, shape[2] // factor
