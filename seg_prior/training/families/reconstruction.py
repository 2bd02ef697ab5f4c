"""The term that all label autoencoders share: how many nats f(z) leaves."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from seg_prior.models.location import LocationPrior, of_cells
from seg_prior.models.objective import log_prob_of_labels


class Reconstruction(NamedTuple):
    """Of a batch.

    Attributes:
        nll: () nats a voxel that f(z) leaves, mean over the batch.
        mean, log_var: (B, K) of q(z | s).
        num_voxels: V.
    """

    nll: Tensor
    mean: Tensor
    log_var: Tensor
    num_voxels: int


def reconstruct(
    model: nn.Module, location: LocationPrior, batch: Any, cells: Tensor | None
) -> Reconstruction:
    """Encode and decode a batch of (B, V) label maps and (B, K) noise.

    Labels that count as one are one here, too. With `cells` the mean over voxels is estimated on
    these cells alone.
    """
    label_map, noise = batch
    log_prior, mean, log_var = model(label_map, noise, cells)
    known = location.group_of_label[of_cells(label_map, cells).long()]
    nll = -log_prob_of_labels(location.log_by_group(log_prior), known).mean() / log_prior.shape[2]
    return Reconstruction(nll, mean, log_var, label_map.shape[1])
