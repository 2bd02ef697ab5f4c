"""Kind ae: a code is a point, and nothing is asked of where it lies."""

from __future__ import annotations

from typing import Any

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
    """nll alone, in nats a voxel; there is nothing to ramp up."""
    found = reconstruct(model, location, batch, cells)
    return {"loss": found.nll, "nll": found.nll}
