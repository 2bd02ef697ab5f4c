"""Convolution blocks, chosen once for every network of the package."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_prior.config.networks import VAEConfig

_PLANES = 16
"""Convolved at once where no gradient is asked for."""


class ResidualBlock(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))), pre-activated, 3x3x3.

    Args:
        width: Channels in and out; a multiple of 8 (the channels of one normalisation group).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(width // 8, width),
            nn.SiLU(inplace=True),
            nn.Conv3d(width, width, 3, padding=1),
            nn.GroupNorm(width // 8, width),
            nn.SiLU(inplace=True),
            nn.Conv3d(width, width, 3, padding=1),
        )
        # Each block starts as the identity: deep stacks train from the first step.
        last = self.layers[-1]
        assert isinstance(last, nn.Conv3d)
        assert last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, D, H, W) -> the same shape."""
        out = x
        for layer in self.layers:
            # Autocast of a GPU normalises in float32.
            can_replace = not torch.is_grad_enabled() and out.dtype == x.dtype
            if can_replace and isinstance(layer, nn.Conv3d):
                out = _replaced(layer, out)
            else:
                out = layer(out)
        return out.add_(x) if out.dtype == x.dtype else out + x  # no third array where it can be


def _replaced(layer: nn.Conv3d, x: Tensor) -> Tensor:
    """(B, C, D, H, W) -> what a 3x3x3 convolution, padded with zeros, makes of it, in its place.

    Planes by planes, since two arrays of the finest grid of a brain are 94 MB, and the C library
    seldom has a place for another one among what was freed before.
    """
    depth, weight, bias = x.shape[2], layer.weight, layer.bias
    before = torch.zeros_like(x[:, :, :1])
    for start in range(0, depth, _PLANES):
        here = x[:, :, start : start + _PLANES]
        after = x[:, :, start + _PLANES : start + _PLANES + 1]
        if not after.shape[2]:
            after = torch.zeros_like(before)
        seen = torch.cat([before, here, after], dim=2)
        before = here[:, :, -1:].clone()
        here.copy_(F.conv3d(seen, weight, bias, padding=(0, 1, 1)))
    return x


def halve(width_in: int, width_out: int) -> nn.Module:
    """Half the size along each axis: disjoint 2x2x2 blocks, mixed linearly."""
    return nn.Conv3d(width_in, width_out, kernel_size=2, stride=2)


class Double(nn.Module):
    """Twice the size along each axis: mixed on the coarse grid, where it is cheap, then smooth."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.mix = nn.Conv3d(width_in, width_out, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width_in, D, H, W) -> (B, width_out, 2 D, 2 H, 2 W)."""
        mixed = self.mix(x)
        # Autocast on CPUs would interpolate in float32, and all that follows would take twice as
        # long.
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = F.interpolate(
                mixed, scale_factor=2, mode="trilinear", align_corners=False
            )
        return out


def channels_last(network: nn.Module) -> None:
    """Lay out a network's convolutions as matrix units of CPUs and GPUs read them.

    Channels side by side in memory: with bfloat16 several times as fast. What comes out of such a
    convolution is laid out likewise, and so on through the network.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)


COARSENING = 8
"""Voxels of prior space along one edge of a latent cell; grid sides are multiples of it."""


def residual_blocks(width: int, config: VAEConfig) -> list[nn.Module]:
    """As many blocks as the config wants at one level."""
    return [ResidualBlock(width) for _ in range(config.num_blocks)]


def at_cells(grid: Tensor, cells: Tensor) -> Tensor:
    """(B, C, D/2, H/2, W/2) -> (B, N, C): rows of memory where channels come last."""
    return grid.movedim(1, -1).flatten(1, 3).index_select(1, cells)


def coarser(shape: tuple[int, int, int], factor: int) -> tuple[int, int, int]:
    """The shape of a grid with voxels so many times as long; every side must be a multiple."""
    assert all(side % factor == 0 for side in shape), (shape, factor)
    return shape[0] // factor, shape[1] // factor, shape[2] // factor
