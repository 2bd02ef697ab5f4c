"""p(coarse): a normal field, which knows how the numbers of neighbouring blocks go together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROUNDS = 4
"""Of fitting each axis in turn: people left out are as likely after more."""
RIDGE = 0.1
"""Of each axis' covariance, as a share of its mean variance: few maps leave it singular."""
LEAST_SCALE = 0.01
"""Of the usual deviation, which every number has at least: outside of the anatomy few vary, and
where more is asked of them, others are taken for the livelier."""
MAX_DIRECTIONS = 12
"""In which whole brains differ; of fewer people, as many as these."""
DIRECTIONS_SHARE = 0.3
"""Of the variance that codes have along them, above what the axes give: the directions of few
people fit themselves better than they fit others."""
NUM_FOLDS = 5


class CoarseField(nn.Module):
    """A normal over the coarse part: neighbours go together, and so does the whole, along a few
    directions.

        c = center + scale * (F_C x F_D x F_H x F_W) (e + D^T w),    e, w ~ N(0, I)

    F of an axis is lower triangular with rows of length 1, so that F F^T is a correlation, and acts
    along it: on the channels, and on the blocks along D, H and W (the array normal of Hoff 2011).
    So warps are smooth where those of people are, at the cost of four small matrices, which tens of
    people teach. The rows of D are what such a product cannot say: a brain that is larger, or has
    larger ventricles. An autoencoder's N(0, I) would draw each block alone.

    Args:
        shape: C and the blocks along D, H, W.
        num_directions: R, rows of D.
    """

    center: Tensor
    scale: Tensor
    directions: Tensor

    def __init__(self, shape: Sequence[int], num_directions: int = 0) -> None:
        super().__init__()
        self.shape = tuple(shape)
        size = math.prod(shape)
        self.num_noise = size + num_directions
        self.register_buffer("center", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("directions", torch.zeros(num_directions, size))
        for axis, size in enumerate(shape):
            self.register_buffer(f"factor_{axis}", torch.eye(size))

    @property
    def factors(self) -> list[Tensor]:
        """F of each axis, square."""
        return [getattr(self, f"factor_{axis}") for axis in range(len(self.shape))]

    @property
    def sd(self) -> Tensor:
        """(K',) deviation of each number."""
        return self.scale * (1 + self._together(self.directions).square().sum(0)).sqrt()

    def draw(self, noise: Tensor) -> Tensor:
        """(B, K' + R) of N(0, I) -> (B, K') coarse parts."""
        alone, along = noise[:, : self.scale.numel()], noise[:, self.scale.numel() :]
        return self.center + self.scale * self._together(alone + along @ self.directions)

    def log_prob(self, coarse: Tensor) -> Tensor:
        """(B, K') -> (B,) in nats, without -K'/2 log 2 pi."""
        e = self._apart(coarse)
        # Of e the covariance is I + D^T D, whose inverse needs R x R numbers only (Woodbury).
        inner = torch.eye(len(self.directions)).to(e) + self.directions @ self.directions.T
        along = e @ self.directions.T
        told = (along @ torch.linalg.inv(inner) * along).sum(1)
        log_det = torch.linalg.slogdet(inner).logabsdet + sum(
            2 * factor.diagonal().log().mean() * self.scale.numel() for factor in self.factors
        )
        out: Tensor = -0.5 * (e.square().sum(1) - told + log_det) - self.scale.log().sum()
        return out

    def _apart(self, coarse: Tensor) -> Tensor:
        """(B, K') -> (B, K') e + D^T w of them, which is e where there are no directions."""
        u = ((coarse - self.center) / self.scale).view(-1, *self.shape)
        inverse = [torch.linalg.inv(factor) for factor in self.factors]
        return _along_axes(u, inverse).flatten(1)

    def _together(self, rows: Tensor) -> Tensor:
        return _along_axes(rows.view(-1, *self.shape), self.factors).flatten(1)

    @torch.no_grad()
    def fit_directions(self, codes: Tensor) -> None:
        """The principal directions of what the axes leave together in (N, K') codes.

        `scale` shrinks so that each number varies as before.
        """
        e = self._apart(codes)
        variances, mix = torch.linalg.eigh(e @ e.T / len(e))
        kept = variances.argsort(descending=True)[: len(self.directions)]
        above = DIRECTIONS_SHARE * (variances[kept] - 1).clamp_min(0)
        before = self.sd
        self.directions.copy_(above.sqrt()[:, None] * F.normalize(mix[:, kept].T @ e))
        self.scale.mul_(before / self.sd)


def fit_coarse_field(codes: Tensor, shape: Sequence[int]) -> CoarseField:
    """The field of codes: each number's mean and deviation, and how they go together.

    Each axis' covariance is, in turn, the likeliest beside those of the others but for the ridge;
    of all of them the correlations are kept. Variances that are a product would be too large where
    codes vary least, and draws would wander further from people than people do.

    Args:
        codes: (N, K') means of q of label maps, N >= 2.
        shape: As `CoarseField` has it; K' numbers.
    """
    field = CoarseField(shape, min(MAX_DIRECTIONS, len(codes) - 1))
    field.center.copy_(codes.mean(0))
    sd = codes.std(0)
    field.scale.copy_(sd.clamp_min(max(1e-3, LEAST_SCALE * float(sd.square().mean().sqrt()))))
    u = ((codes - field.center) / field.scale).view(-1, *shape)
    factors = field.factors
    for axis in ROUNDS * list(range(len(factors))):
        others = [
            torch.eye(len(factor)) if n == axis else torch.linalg.inv(factor)
            for n, factor in enumerate(factors)
        ]
        rows = _along_axes(u, others).movedim(axis + 1, 0).flatten(1)
        covariance = rows @ rows.T / rows.shape[1]
        ridge = RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance))
        factors[axis].copy_(torch.linalg.cholesky((1 - RIDGE) * covariance + ridge))
    for factor in factors:
        factor.div_(factor.norm(dim=1, keepdim=True))
    field.fit_directions(codes)
    return field


def gain_of_left_out(codes: Tensor, shape: Sequence[int], people: Sequence[str]) -> float:
    """Mean log density in nats that a field of the others gives to the codes of people left out,
    above what it gives where its numbers are independent.
    """
    order = {person: n % NUM_FOLDS for n, person in enumerate(dict.fromkeys(people))}
    fold = torch.tensor([order[person] for person in people])
    gain = 0.0
    for n in range(min(NUM_FOLDS, len(order))):
        field, out = fit_coarse_field(codes[fold != n], shape), codes[fold == n]
        alone = CoarseField(shape)
        alone.center.copy_(field.center)
        alone.scale.copy_(field.sd)
        gain += float((field.log_prob(out) - alone.log_prob(out)).sum())
    return gain / len(codes)


def _along_axes(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """(B, n_1, ..., n_A) -> the same shape, each axis a times the a-th of (n_a, n_a) matrices."""
    for axis, matrix in enumerate(matrices, start=1):
        x = torch.tensordot(x, matrix, dims=([axis], [1])).movedim(-1, axis)
    return x
