"""Linear latent priors: log-odds principal components; with none, the atlas."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from seg_prior.errors import ConfigError
from seg_prior.models.cells import CELL, of_cells
from seg_prior.models.location import LocationPrior
from seg_prior.models.prior import Prior

SMOOTHING = 0.02
"""Added to every group's share of a cell before the logarithm."""


class LinearPrior(Prior):
    """log f(z) = log softmax( log p_loc + sum_k z_k basis_k ), with z ~ N(0, I).

    The basis lives on the half-size grid and is interpolated linearly. K = 0 is the atlas.

    Args:
        location: The location prior.
        center: (G, V / 8) mean log share of each group of labels in each cell.
        basis: (K, G, V / 8), one standard deviation along each principal component.
    """

    center: Tensor
    basis: Tensor

    def __init__(self, location: LocationPrior, center: Tensor, basis: Tensor) -> None:
        super().__init__(location)
        self.register_buffer("center", center)
        self.register_buffer("basis", basis)

    @property
    def num_latents(self) -> int:
        """K."""
        return int(self.basis.shape[0])

    @property
    def num_coarse(self) -> int:
        """All of K: there is no detail."""
        return self.num_latents

    def encode(self, soft_labels: Tensor, is_coarse: bool = False) -> tuple[Tensor, Tensor]:
        """Projection on the components: (B, L, V) -> mean, log_var, each (B, K).

        The components are orthogonal, so each is fitted alone; log_var is that of a narrow q.
        """
        del is_coarse  # there is no detail
        residual = _log_share(self.location.by_group(soft_labels)) - self.center
        norms = self.basis.square().sum((1, 2)).clamp_min(1e-12)
        mean = torch.einsum("blc,klc->bk", residual, self.basis.float()) / norms
        return mean, torch.full_like(mean, -6.0)

    def decode(self, z: Tensor, cells: Tensor | None = None) -> Tensor:
        """(B, K) -> (B, L, V) log f(z), or (B, L, 8 N) at N chosen cells of the mask."""
        batch = self.checked(z).shape[0]
        if self.num_latents == 0:
            return of_cells(self.location.log_prob.expand(batch, -1, -1), cells)
        scores = torch.einsum("bk,klc->blc", z, self.basis.to(z.dtype))
        half = [side // 2 for side in self.location.shape]
        grid = scores.new_zeros(batch, scores.shape[1], half[0] * half[1] * half[2])
        grid[:, :, self.location.cells] = scores
        full = F.interpolate(
            grid.view(batch, -1, *half), scale_factor=2, mode="trilinear", align_corners=False
        )
        logits = self.location.of_labels(self.location.gather(full))
        return of_cells(torch.log_softmax(logits + self.location.log_prob, dim=1), cells)


def fit_atlas(location: LocationPrior) -> LinearPrior:
    """The location prior alone: no latent."""
    shape = len(location.groups), location.cells.numel()
    return LinearPrior(location, torch.zeros(shape), torch.zeros(0, *shape))


def fit_components(
    location: LocationPrior, soft_labels: Iterable[Tensor], num_components: int
) -> LinearPrior:
    """Principal components of the log shares of label maps.

    Args:
        location: The location prior.
        soft_labels: N tensors (L, V); seen one at a time.
        num_components: K, at most N - 1.

    Raises:
        ConfigError: So few maps do not have so many components.
    """
    shares = torch.stack([_log_share(location.by_group(s[None]))[0] for s in soft_labels])
    num_maps = len(shares)
    if num_components >= num_maps:
        raise ConfigError(
            f"num_components: found {num_components}, need at most {num_maps - 1}, one less than "
            "there are label maps and mirror images. Ask for fewer."
        )
    center = shares.mean(0)
    centered = (shares - center).flatten(1) / (num_maps - 1) ** 0.5
    # N is small: the N x N Gram matrix has the same spectrum as the covariance.
    _, vectors = torch.linalg.eigh(centered @ centered.T)
    top = vectors.flip(1)[:, :num_components]
    return LinearPrior(location, center, (top.T @ centered).view(num_components, *center.shape))


def _log_share(soft_labels: Tensor) -> Tensor:
    """(B, G, V) -> (B, G, V / 8): log of each group's smoothed share of a cell."""
    batch, num_groups, _ = soft_labels.shape
    share = soft_labels.view(batch, num_groups, -1, CELL).mean(3)
    return torch.log((share + SMOOTHING) / (1 + SMOOTHING * share.shape[1]))
