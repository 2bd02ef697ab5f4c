"""Lines through the latent space, and the anatomies along them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_prior.checkpoints.file import Model
from seg_prior.models.density_fit import leading_directions
from seg_prior.models.linear import LinearPrior
from seg_prior.models.prior import Prior


class Walk(NamedTuple):
    """Codes z = start + position * step.

    Attributes:
        name: Of its files.
        title: For people; where its unit is "sd", the ends say more.
        start, step: (1, K).
        positions: Of its frames.
        unit: Of positions.
    """

    name: str
    title: str
    start: Tensor
    step: Tensor
    positions: tuple[float, ...]
    unit: str

    def code(self, frame: int) -> Tensor:
        """(1, K)."""
        return self.start + self.positions[frame] * self.step


class Anatomy(NamedTuple):
    """What a code decodes to.

    Attributes:
        label_map: (D, H, W) uint8, index of the likeliest label.
        volumes_mm3: (G,) the probability of each label of results, summed over voxels.
    """

    label_map: NDArray[np.uint8]
    volumes_mm3: NDArray[np.float64]


def middle(prior: Prior) -> Tensor:
    """(1, K) where walks along directions pass: the middle of p(z)."""
    return prior.density.center.expand(prior.num_latents)[None].clone()


def directions_of(model: Model, codes: Tensor | None, num: int) -> Tensor:
    """Directions of the coarse part that anatomies differ along, one standard deviation long.

    Of label maps, the principal directions of their codes; else those that the checkpoint's
    density tells apart; else the components of a linear prior; else those along which the volumes
    of structures grow and shrink most.

    Args:
        model: With a latent.
        codes: (N, K) of label maps, N >= 2; None where there are none.
        num: How many at most.

    Returns:
        (n, K), n <= num.
    """
    prior = model.prior
    if codes is not None:
        coarse = _principal(codes[:, : prior.num_coarse])
    elif prior.density.directions.numel():
        coarse = _of_density(prior)
    elif isinstance(prior, LinearPrior):
        coarse = torch.diag(prior.density.scale.expand(prior.num_latents))
    else:
        coarse = _of_volumes(model)
    found = coarse.new_zeros(min(num, len(coarse)), prior.num_latents)
    found[:, : prior.num_coarse] = coarse[: len(found)]
    return found


def decode(model: Model, z: Tensor) -> Anatomy:
    """The anatomy of (1, K) z, as results have it."""
    with torch.inference_mode():
        log_prior = model.location.log_by_group(model.prior.decode(z))
        label_map = model.location.map_of(log_prior).cpu().numpy()
        shares = log_prior.exp()[0].sum(1).double().cpu().numpy()
    return Anatomy(label_map, shares * model.header.grid.voxel_volume_mm3)


def distances(prior: Prior, z: Tensor, codes: Tensor) -> NDArray[np.float64]:
    """(N,) root of the mean square difference between coarse parts, in deviations of p(z).

    Two draws of N(0, I) are about 1.41 apart.

    Args:
        prior: Whose codes they are.
        z: (1, K).
        codes: (N, K).
    """
    scale = prior.density.scale.expand(prior.num_latents)[: prior.num_coarse]
    away = (codes - z)[:, : prior.num_coarse] / scale
    return np.asarray(away.square().mean(1).sqrt().double().cpu().numpy())


def title_of(change: Sequence[float], names: Sequence[str], num: int = 3) -> str:
    """The structures that change most, as `Left-Caudate +20 %, ...`.

    Args:
        change: Log ratio of each volume.
        names: Of the structures.
        num: How many to name.
    """
    order = np.argsort(-np.abs(change), kind="stable")[:num]
    return ", ".join(f"{names[i]} {np.expm1(change[i]):+.0%}" for i in order)


def _principal(codes: Tensor) -> Tensor:
    """(N, K') -> (n, K') principal directions, each as long as its standard deviation."""
    directions = leading_directions(codes, len(codes) - 1)
    return (directions * (codes @ directions).std(0)).T


def _of_density(prior: Prior) -> Tensor:
    """(D, K') the directions of p(z), each as long as its standard deviation."""
    density = prior.density
    weight = density.log_weight.exp()[:, None]
    mean = (weight * density.mean).sum(0)
    var = (weight * (density.sd.square() + density.mean.square())).sum(0) - mean.square()
    scale = density.scale.expand(prior.num_latents)[: prior.num_coarse]
    rows = density.directions.T * var.sqrt()[:, None] * scale
    return rows[var.argsort(descending=True)]


def _of_volumes(model: Model) -> Tensor:
    """(P, K') right singular vectors of the slope of log volumes at the middle of p(z).

    The first is the direction along which the volumes of structures, both sides together, change
    most for one standard deviation of z.
    """
    prior = model.prior
    scale = prior.density.scale.expand(prior.num_latents)[: prior.num_coarse]
    z = middle(prior).requires_grad_()
    volumes = model.location.log_by_group(prior.decode(z)).exp()[0].sum(1)
    slopes = []
    for pair in _pairs(model):
        log_volume = volumes[list(pair)].sum().clamp_min(1.0).log()
        [slope] = torch.autograd.grad(log_volume, z, retain_graph=True)
        slopes.append(slope[0, : prior.num_coarse] * scale)
    _, _, directions = torch.linalg.svd(torch.stack(slopes), full_matrices=False)
    found: Tensor = directions * scale
    return found


def _pairs(model: Model) -> list[tuple[int, ...]]:
    """Indices of each structure of results, both sides of the body together."""
    table = model.header.label_table.written
    return [
        tuple(sorted({index, int(table.partner[index])}))
        for index, label in enumerate(table.labels)
        if label.is_structure and index <= int(table.partner[index])
    ]
