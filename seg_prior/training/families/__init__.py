"""What each kind of label autoencoder is trained to make small: one network, three objectives."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from seg_prior.models.location import LocationPrior
from seg_prior.training.families import ae, swae, vae

Losses = Callable[[nn.Module, LocationPrior, Any, float, Tensor | None], Mapping[str, Tensor]]

LOSSES: dict[str, Losses] = {"ae": ae.losses, "vae": vae.losses, "swae": swae.losses}
"""Kind -> (network, location prior, batch, ramp from 0 to 1, cells) -> named means over the batch,
all in nats a voxel; `loss` is minimised."""
