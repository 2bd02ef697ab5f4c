"""What every family of priors can do."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from seg_prior.errors import ConfigError
from seg_prior.models.density import Density, standard_normal
from seg_prior.models.location import LocationPrior
from seg_prior.models.neighbours import Neighbours


class Prior(nn.Module, ABC):
    """p(s | z) p(z): a family says how labels become z and z labels, a density which z there are.

    Attributes:
        location: The location prior.
        density: p(z); N(0, I) until one has been fitted.
        neighbours: Which labels seldom touch in a draw; None until it has been learned.
    """

    def __init__(self, location: LocationPrior) -> None:
        super().__init__()
        self.location = location
        self.density: Density = standard_normal()
        self.neighbours: Neighbours | None = None

    @property
    @abstractmethod
    def num_latents(self) -> int:
        """K; 0 for an atlas."""

    @property
    @abstractmethod
    def num_coarse(self) -> int:
        """Of these, the first: where structures lie; the others are the detail."""

    @abstractmethod
    def encode(self, soft_labels: Tensor, is_coarse: bool = False) -> tuple[Tensor, Tensor]:
        """(B, L, V) label probabilities -> mean, log_var of q(z | s), each (B, K).

        log_var is -inf where q is a point, so that a draw of q is its mean. Where only the coarse
        part is asked for, the detail is 0.
        """

    @abstractmethod
    def decode(self, z: Tensor, cells: Tensor | None = None) -> Tensor:
        """(B, K) -> (B, L, V) log f(z), or (B, L, 8 N) at N chosen cells of the mask.

        Raises:
            ConfigError: z is not of K numbers.
        """

    def checked(self, z: Tensor) -> Tensor:
        """A z that is one of this prior.

        Raises:
            ConfigError: It is not of K numbers.
        """
        if z.ndim != 2 or z.shape[1] != self.num_latents:
            raise ConfigError(
                f"z: found shape {tuple(z.shape)}, need (B, {self.num_latents}). It is of another "
                "model: encode the label map with this one."
            )
        return z

    def log_prob(self, z: Tensor) -> Tensor:
        """(B, K) -> (B,) log p(z) in nats, without -K/2 log 2 pi."""
        return self.density.log_prob(self.checked(z))

    def sample(self, generator: torch.Generator, is_coarse: bool = False) -> Tensor:
        """(1, K) of p(z), on the prior's device; a function of the generator's state alone.

        Args:
            generator: Of the CPU.
            is_coarse: The coarse part is drawn, the detail stays at its mean.
        """
        z = self.density.led(self.unled(generator), generator)
        if is_coarse:
            z[:, self.num_coarse :] = self.density.center.expand(self.num_latents)[
                self.num_coarse :
            ]
        return z

    def unled(self, generator: torch.Generator) -> Tensor:
        """(1, K) what z is across the directions of the density."""
        return self.density.independent(self.num_latents, generator)

    @torch.no_grad()
    def labels_of(self, drawn: Tensor) -> Tensor:
        """Of a draw (1, K), a likely anatomy (D, H, W) uint8 in labels of results.

        The likeliest label of every voxel, but for neighbours that seldom touch.
        """
        log_prior = self.location.log_by_group(self.decode(drawn))
        if self.neighbours is None:
            return self.location.map_of(log_prior)
        return self.neighbours.settle(log_prior, self.location)
