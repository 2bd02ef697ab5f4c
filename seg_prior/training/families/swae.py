"""Kind swae: codes are points, and those of a batch lie as draws of N(0, I) would."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seg_prior.models.location import LocationPrior
from seg_prior.training.families.reconstruction import reconstruct


def losses(
    model: nn.Module,
    location: LocationPrior,
    batch: Any,
    ramp: float,
    cells: Tensor | None = None,
) -> dict[str, Tensor]:
    """nll + ramp K/2 SW, with SW of `sliced_distance`, both in nats a voxel.

    K/2 puts SW on the scale of the KL of a VAE, in which z has 1/2 |z|^2.
    """
    found = reconstruct(model, location, batch, cells)
    _, noise = batch
    sliced = sliced_distance(found.mean, noise) * found.mean.shape[1] / (2 * found.num_voxels)
    return {"loss": found.nll + ramp * sliced, "nll": found.nll, "sliced": sliced}


def sliced_distance(codes: Tensor, noise: Tensor) -> Tensor:
    """Squared Wasserstein distance of codes to N(0, 1) along slices, mean over slices, >= 0.

    Half of it is the mean over the K axes, half over directions that are drawn (Kolouri et al.,
    ICLR 2019). In thousands of dimensions a drawn direction sees little but the length of a code;
    the axes see every number of z.

    Args:
        codes: (B, K), B >= 2.
        noise: (B, K) standard normal, whose rows are the directions.
    """
    targets = normal_targets(len(codes)).to(codes)[:, None]
    directions = noise / noise.norm(dim=1, keepdim=True)
    axes = (codes.sort(dim=0).values - targets).square().mean()
    drawn = ((codes @ directions.T).sort(dim=0).values - targets).square().mean()
    distance: Tensor = (axes + drawn) / 2
    return distance


def normal_targets(num: int) -> Tensor:
    """(B,) where B sorted draws of N(0, 1) shall lie.

    Quantiles of N(0, 1), stretched so that among all N(0, sd^2) it is draws of N(0, 1) that lie
    nearest to them on average; bare quantiles of few draws would ask for a smaller deviation. The
    mean of the sorted draws themselves has that property if it is divided by its mean square.
    """
    expected: Tensor = torch.special.ndtri((torch.arange(1, num + 1) - 0.375) / (num + 0.25))
    return expected / expected.square().mean()
