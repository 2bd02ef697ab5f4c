"""The label autoencoder of kinds ae, vae and swae: q(z | s) and f(z) over one location prior."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from seg_prior.config.networks import DetailFlowConfig, VAEConfig
from seg_prior.models.cells import by_cell
from seg_prior.models.coarse_field import CoarseField
from seg_prior.models.detail import DetailFlow
from seg_prior.models.label_decoder import LabelDecoder
from seg_prior.models.label_encoder import LabelEncoder
from seg_prior.models.location import LocationPrior
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
        self.coarse_field: CoarseField | None = None
        self.detail_flow: DetailFlow | None = None

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

    def encode(self, soft_labels: Tensor, is_coarse: bool = False) -> tuple[Tensor, Tensor]:
        """(B, L, V) label probabilities -> mean, log_var of q(z | s), each (B, K)."""
        mean, log_var = self.encoder(soft_labels, self.location, is_coarse)
        return mean, log_var if self.is_variational else torch.full_like(log_var, -torch.inf)

    def decode(self, z: Tensor, cells: Tensor | None = None) -> Tensor:
        """(B, K) -> (B, L, V) log f(z), or (B, L, 8 N) at N chosen cells of the mask."""
        log_prior: Tensor = self.decoder(self.checked(z), self.location, cells)
        return log_prior

    def add_detail_flow(self, config: DetailFlowConfig) -> DetailFlow:
        """One that has learned nothing, as part of this prior."""
        num_channels, _ = self.decoder.detail_shape
        self.detail_flow = DetailFlow(self.location, num_channels, config)
        return self.detail_flow

    def add_coarse_field(self, num_directions: int) -> CoarseField:
        """One that has learned nothing, as part of this prior."""
        self.coarse_field = CoarseField(self.decoder.latent_shape, num_directions)
        return self.coarse_field

    def sample(self, generator: torch.Generator, is_coarse: bool = False) -> Tensor:
        """As of every prior; a flow of the detail takes the place of the density's detail."""
        z = super().sample(generator, is_coarse)
        if is_coarse or self.detail_flow is None:
            return z
        coarse, detail = z[:, : self.num_coarse], z[:, self.num_coarse :]
        noise = torch.randn(detail.shape, generator=generator).to(z.device)
        return torch.cat([coarse, self.detail_of(coarse, noise)], dim=1)

    def unled(self, generator: torch.Generator) -> Tensor:
        """As of every prior; a field takes the place of the density's independent coarse part."""
        z = super().unled(generator)
        if self.coarse_field is None:
            return z
        noise = torch.randn(1, self.coarse_field.num_noise, generator=generator).to(z.device)
        return torch.cat([self.coarse_field.draw(noise), z[:, self.num_coarse :]], dim=1)

    @torch.no_grad()
    def detail_of(self, coarse: Tensor, noise: Tensor) -> Tensor:
        """Detail that fits the coarse part and itself, both (B, F N), from noise of N(0, I)."""
        assert self.detail_flow is not None
        rows = noise.view(-1, *self.decoder.detail_shape).transpose(1, 2)
        drawn = self.detail_flow.draw(rows, self.context(coarse))
        return drawn.transpose(1, 2).flatten(1)

    def context(self, coarse: Tensor) -> Tensor:
        """What the flow of the detail knows of each cell beforehand.

        Args:
            coarse: (B, num_coarse).

        Returns:
            (B, N, 2 F): the code of the labels that the coarse part alone expects less that of the
            location prior's, and the latter; codes are projections, as the encoder has them.
        """
        assert self.encoder.detail is not None
        rest = coarse.new_zeros(len(coarse), self.num_latents - self.num_coarse)
        prob = self.location.by_group(self.decode(torch.cat([coarse, rest], dim=1)).exp())
        atlas = self.encoder.detail.project(by_cell(self.location.prob_of_group[None]))
        expected = self.encoder.detail.project(by_cell(prob)) - atlas
        return torch.cat([expected, atlas.expand_as(expected)], dim=2)

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
