"""Kind vae: a width for every code, and a price for every nat that it tells."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from seg_prior.models.location import LocationPrior
from seg_prior.models.objective import kl_to_standard_normal
from seg_prior.training.families.reconstruction import reconstruct


def losses(
    model: nn.Module,
    location: LocationPrior,
    batch: Any,
    ramp: float,
    cells: Tensor | None = None,
) -> dict[str, Tensor]:
    """-ELBO(s) [Kingma2014]: nll + ramp KL( q(z | s) || N(0, I) ), both in nats a voxel."""
    found = reconstruct(model, location, batch, cells)
    kl = kl_to_standard_normal(found.mean, found.log_var).sum(1).mean() / found.num_voxels
    return {"loss": found.nll + ramp * kl, "nll": found.nll, "kl": kl}
