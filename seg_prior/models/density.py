"""p(z): the standard normal, or what codes of anatomies are along the directions that lead."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Mixture:
    """Normals with diagonal covariance in D dimensions: (M,), (M, D), (M, D)."""

    log_weight: Tensor
    mean: Tensor
    sd: Tensor

    def log_joint(self, w: Tensor) -> Tensor:
        """(N, D) -> (N, M) log weight_m N(w; mean_m, diag sd_m^2), without -D/2 log 2 pi."""
        distance = ((w[:, None] - self.mean) / self.sd).square().sum(2)
        return self.log_weight - 0.5 * distance - self.sd.log().sum(1)

    def log_prob(self, w: Tensor) -> Tensor:
        """(N, D) -> (N,)."""
        return self.log_joint(w).logsumexp(1)


class Density(nn.Module):
    """Independent normals, and along a few directions of the coarse part a mixture of normals.

        u = (z - center) / scale,   w = directions^T u,   the rest of u ~ N(0, I)
        p(w) = sum_m weight_m N(w; mean_m, diag sd_m^2)

    z has thousands of numbers and is learned from tens of people: a density over all of z has
    nothing to stand on, so where it is not normal is told by few directions. Without any it is
    N(center, diag scale^2); with a component for each code it is a kernel density.

    Args:
        center, scale: (K,), or () where one number does for all.
        directions: (K', D), orthonormal columns, of the first K' <= K numbers of z.
        log_weight: (M,), normalised.
        mean, sd: (M, D).

    Raises:
        ValueError: These do not fit together.
    """

    center: Tensor
    scale: Tensor
    directions: Tensor
    log_weight: Tensor
    mean: Tensor
    sd: Tensor

    def __init__(
        self,
        center: Tensor,
        scale: Tensor,
        directions: Tensor,
        log_weight: Tensor,
        mean: Tensor,
        sd: Tensor,
    ) -> None:
        super().__init__()
        needed = log_weight.numel(), directions.shape[1]
        if tuple(mean.shape) != needed or tuple(sd.shape) != needed or center.shape != scale.shape:
            raise ValueError(f"a density whose {needed[0]} components do not fit its directions")
        tensors = {"center": center, "scale": scale, "directions": directions}
        tensors |= {"log_weight": log_weight, "mean": mean, "sd": sd}
        for name, tensor in tensors.items():
            # Not of the state of a training, which is that of networks.
            self.register_buffer(name, tensor, persistent=False)

    @property
    def is_standard(self) -> bool:
        """Whether it is N(0, I), of which a checkpoint keeps nothing."""
        return self.center.ndim == 0 and self.directions.numel() == 0

    def log_prob(self, z: Tensor) -> Tensor:
        """(B, K) -> (B,) log p(z) in nats, without the -K/2 log 2 pi that all densities share."""
        u = (z - self.center) / self.scale
        w = u[:, : self.directions.shape[0]] @ self.directions
        rest = u.square().sum(1) - w.square().sum(1)
        along = Mixture(self.log_weight, self.mean, self.sd).log_prob(w)
        log_scale = self.scale.log().expand(z.shape[1]).sum()
        return along - 0.5 * rest - log_scale

    def independent(self, num_latents: int, generator: torch.Generator) -> Tensor:
        """(1, K) of N(center, diag scale^2), on its device; `led` makes it one of p(z)."""
        noise = torch.randn(1, num_latents, generator=generator).to(self.center.device)
        return self.center + self.scale * noise

    def led(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """(1, K) as it is, but along the directions drawn anew, of the mixture."""
        if not self.directions.numel():
            return z
        chosen = torch.multinomial(self.log_weight.exp().cpu(), 1, generator=generator)
        chosen = chosen.to(z.device)
        num_led, num_directions = self.directions.shape
        noise = torch.randn(1, num_directions, generator=generator).to(z.device)
        w = self.mean[chosen] + self.sd[chosen] * noise
        u = ((z - self.center) / self.scale)[:, :num_led]
        moved = (w - u @ self.directions) @ self.directions.T
        led = z[:, :num_led] + self.scale.expand_as(z)[:, :num_led] * moved
        return torch.cat([led, z[:, num_led:]], dim=1)


def standard_normal() -> Density:
    """N(0, I)."""
    return along_directions(torch.zeros(()), torch.ones(()), torch.zeros(0, 0))


def along_directions(center: Tensor, scale: Tensor, directions: Tensor) -> Density:
    """N(center, diag scale^2), its directions known and nothing told of them."""
    num = directions.shape[1]
    one = torch.zeros(1)
    return Density(center, scale, directions, one, torch.zeros(1, num), torch.ones(1, num))
