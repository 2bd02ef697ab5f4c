"""Convolution blocks, chosen once for every network of the package."""

from __future__ import annotations

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))), pre-activated, 3x3x3.

    Args:
        width: Channels in and out; a multiple of 8 (the channels of one normalisation group).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(width // 8, width),
            nn.SiLU(),
            nn.Conv3d(width, width, 3, padding=1),
            nn.GroupNorm(width // 8, width),
            nn.SiLU(),
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
        out: Tensor = x + self.layers(x)
        return out


def halve(width_in: int, width_out: int) -> nn.Module:
    """Half the size along each axis: disjoint 2x2x2 blocks, mixed linearly."""
    return nn.Conv3d(width_in, width_out, kernel_size=2, stride=2)


def double(width_in: int, width_out: int) -> nn.Module:
    """Twice the size along each axis: mixed on the coarse grid, where it is cheap, then smooth."""
    return nn.Sequential(
        nn.Conv3d(width_in, width_out, kernel_size=1),
        nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False),
    )
