"""What each kind of label autoencoder is trained to make small: one network, three objectives.

    loss = nll + ramp price,    nll = nats that f(z) leaves,    all in nats a voxel

A kind is what it asks for a code, its price.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seg_prior.models.cells import of_cells
from seg_prior.models.location import LocationPrior
from seg_prior.models.objective import kl_to_standard_normal, log_prob_of_labels


class Coded(NamedTuple):
    """Codes of a batch of label maps.

    Attributes:
        mean, log_var: (B, K) of q(z | s).
        noise: (B, K) standard normal.
        num_voxels: Of a label map.
    """

    mean: Tensor
    log_var: Tensor
    noise: Tensor
    num_voxels: int


Price = Callable[[Coded], dict[str, Tensor]]
"""Codes -> the term that the loss has beside nll, by its name; a kind may have none."""


def _free(_: Coded) -> dict[str, Tensor]:
    """Kind ae: a code is a point, and nothing is asked of where it lies."""
    return {}


def _divergence(codes: Coded) -> dict[str, Tensor]:
    """Kind vae: KL( q(z | s) || N(0, I) ), which makes the loss -ELBO(s) [Kingma2014]."""
    kl = kl_to_standard_normal(codes.mean, codes.log_var).sum(1).mean() / codes.num_voxels
    return {"kl": kl}


def _sliced(codes: Coded) -> dict[str, Tensor]:
    """Kind swae: K/2 `sliced_distance`; codes of a batch lie as draws of N(0, I) would.

    K/2 puts it on the scale of the KL of a VAE, in which z has 1/2 |z|^2.
    """
    distance = sliced_distance(codes.mean, codes.noise)
    return {"sliced": distance * codes.mean.shape[1] / (2 * codes.num_voxels)}


def _losses(
    price: Price,
    model: nn.Module,
    location: LocationPrior,
    batch: Any,
    ramp: float,
    cells: Tensor | None = None,
) -> dict[str, Tensor]:
    """Encode and decode a batch of (B, V) label maps and (B, K) noise.

    Labels that count as one are one here, too. With `cells` the mean over voxels is estimated on
    these cells alone.
    """
    label_map, noise = batch
    log_prior, mean, log_var = model(label_map, noise, cells)
    known = location.group_of_label[of_cells(label_map, cells).long()]
    nll = -log_prob_of_labels(location.log_by_group(log_prior), known).mean() / log_prior.shape[2]
    terms = price(Coded(mean, log_var, noise, label_map.shape[1]))
    return {"loss": nll + ramp * sum(terms.values()), "nll": nll, **terms}


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


LOSSES = {
    "ae": partial(_losses, _free),
    "vae": partial(_losses, _divergence),
    "swae": partial(_losses, _sliced),
}
"""Kind -> (network, location prior, batch, ramp from 0 to 1, cells) -> named means over the batch;
`loss` is minimised."""
