"""p(coarse): a normal field, which knows how the numbers of neighbouring blocks go together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

ROUNDS = 4
"""Of fitting each axis in turn: people left out are as likely after more."""
RIDGE = 0.1
"""Of each axis' covariance, as a share of its mean variance: few maps leave it singular."""
LEAST_SCALE = 0.01
"""Of the usual deviation, which every number has at least: outside of the anatomy few vary, and
where more is asked of them, others are taken for the livelier."""
NUM_FOLDS = 5


class CoarseField(nn.Module):
    """A normal over the coarse part whose correlation is a product of one matrix for each axis.

        c = center + scale * (F_C x F_D x F_H x F_W) e,    e ~ N(0, I)

    F of an axis is lower triangular with rows of length 1, so that F F^T is a correlation, and acts
    along it: on the channels, and on the blocks along D, H and W (the array normal of Hoff 2011).
    Each number varies as `scale` says, together with its neighbours. So warps are smooth where
    those of people are, at the cost of four small matrices, which tens of people teach. An
    autoencoder's N(0, I) would draw each block alone.

    Args:
        shape: C and the blocks along D, H, W.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.register_buffer("center", torch.zeros(math.prod(shape)))
        self.register_buffer("scale", torch.ones(math.prod(shape)))
        for axis, size in enumerate(shape):
            self.register_buffer(f"factor_{axis}", torch.eye(size))

    @property
    def factors(self) -> list[Tensor]:
        """F of each axis, square."""
        return [getattr(self, f"factor_{axis}") for axis in range(len(self.shape))]

    def draw(self, noise: Tensor) -> Tensor:
        """(B, K') of N(0, I) -> (B, K') coarse parts."""
        return self.center + self.scale * _along_axes(self._fold(noise), self.factors).flatten(1)

    def log_prob(self, coarse: Tensor) -> Tensor:
        """(B, K') -> (B,) in nats, without -K'/2 log 2 pi."""
        u = self._fold((coarse - self.center) / self.scale)
        e = _along_axes(u, [torch.linalg.inv(factor) for factor in self.factors])
        log_det = sum(
            float(factor.diagonal().log().mean()) * self.scale.numel() for factor in self.factors
        )
        return -0.5 * e.flatten(1).square().sum(1) - log_det - self.scale.log().sum()

    def _fold(self, rows: Tensor) -> Tensor:
        return rows.view(-1, *self.shape)


def fit_coarse_field(codes: Tensor, shape: Sequence[int]) -> CoarseField:
    """The field of codes: each number's mean and deviation, and how they go together.

    Each axis' covariance is, in turn, the likeliest beside those of the others but for the ridge;
    of all of them the correlations are kept. Variances that are a product would be too large where
    codes vary least, and draws would wander further from people than people do.

    Args:
        codes: (N, K') means of q of label maps, N >= 2.
        shape: As `CoarseField` has it; K' numbers.
    """
    field = CoarseField(shape)
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
        alone.scale.copy_(field.scale)
        gain += float((field.log_prob(out) - alone.log_prob(out)).sum())
    return gain / len(codes)


def _along_axes(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """(B, n_1, ..., n_A) -> the same shape, each axis a times the a-th of (n_a, n_a) matrices."""
    for axis, matrix in enumerate(matrices, start=1):
        x = torch.tensordot(x, matrix, dims=([axis], [1])).movedim(-1, axis)
    return x
