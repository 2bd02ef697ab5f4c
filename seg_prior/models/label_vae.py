"""The label autoencoder of kinds ae, vae and swae: q(z | s) and f(z) over one location prior."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from seg_prior.config.networks import VAEConfig
from seg_prior.models.label_decoder import LabelDecoder
from seg_prior.models.label_encoder import LabelEncoder
from seg_prior.models.location import LocationPrior, by_cell
from seg_prior.models.prior import Prior

DETAIL_GAIN, LOGITS_GAIN = 2.0, 3.0
"""Of the detail on the residual, and of logits on the detail, before training: together they leave
a fifth of the nats of the atlas."""


class LabelVAE(Prior):
    """q(z | s) and f(z) over one location prior.

    Args:
        location: The location prior.
        config: Form of the networks.
        is_variational: Whether q has a width, as of kind vae; of ae and swae it is a point, and
            what the encoder says of log variance is left unused.
    """

    def __init__(
        self, location: LocationPrior, config: VAEConfig, is_variational: bool = True
    ) -> None:
        super().__init__(location)
        self.config = config
        self.is_variational = is_variational
        self.encoder = LabelEncoder(location, config)
        self.decoder = LabelDecoder(location, config)

    def init_detail(self, basis: Tensor) -> None:
        """Let the detail begin as what `fit_residual_pca` found: (G * 8, F) orthonormal columns."""
        assert self.encoder.detail is not None
        with torch.no_grad():
            self.encoder.detail.project.weight.copy_(DETAIL_GAIN * basis.T)
            self.decoder.detail_to_logits.weight.copy_(LOGITS_GAIN * basis)

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
        return mean, log_var if self.is_variational else torch.full_like(log_var, -torch.inf)

    def decode(self, z: Tensor, cells: Tensor | None = None) -> Tensor:
        """(B, K) -> (B, L, V) log f(z), or (B, L, 8 N) at N chosen cells of the mask."""
        log_prior: Tensor = self.decoder(self.checked(z), self.location, cells)
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
        z = mean + torch.exp(log_var / 2) * noise if self.is_variational else mean
        return self.decode(z, cells), mean, log_var


def fit_residual_pca(
    location: LocationPrior, label_maps: Iterable[Tensor], num_channels: int
) -> Tensor:
    """The main directions in which cells differ from what the location prior expects of them.

    Principal components of s - p over all cells of all maps, s one-hot: with z = gain * (s - p) on
    them, logits that rise along them undo the residual.

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
        residual = by_cell(seen)[0] - expected
        moment += residual.T @ residual
    vectors: Tensor = torch.linalg.eigh(moment).eigenvectors
    return vectors.flip(1)[:, :num_channels]


def one_hot(label_map: Tensor, num_labels: int) -> Tensor:
    """(B, V) indices -> (B, L, V) float32."""
    batch, num_voxels = label_map.shape
    out = torch.zeros(batch, num_labels, num_voxels, device=label_map.device)
    return out.scatter_(1, label_map[:, None].long(), 1.0)
