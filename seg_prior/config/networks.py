"""Form of the networks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from seg_prior.config.base import FrozenModel

Width = Annotated[int, Field(gt=0, multiple_of=8)]


class VAEConfig(FrozenModel):
    """Shape of the label VAE.

    Attributes:
        latent_channels: C; z has C numbers for each block of 8 x 8 x 8 voxels of prior space.
        detail_channels: F; z has F more numbers for each block of 2 x 2 x 2 voxels with anatomy.
            0 leaves the detail out, which few or small label maps do not teach.
        widths: Channels at 1/2, 1/4 and 1/8 of the grid, each a multiple of 8.
        num_blocks: Residual blocks at 1/4 and at 1/8, in encoder and decoder each.
    """

    latent_channels: int = Field(8, ge=3)
    detail_channels: int = Field(0, ge=0)
    widths: tuple[Width, Width, Width] = (32, 64, 128)
    num_blocks: int = Field(2, ge=0)


class LocatorConfig(FrozenModel):
    """Form of the network that sees which labels lie where in an image.

    Attributes:
        spacing_mm: Of the grid that it sees images on.
        widths: Channels at a half, a quarter and an eighth of that grid; multiples of 8.
    """

    spacing_mm: float = Field(gt=0)
    widths: tuple[Width, Width, Width] = (32, 64, 96)


class ReaderConfig(FrozenModel):
    """Form of the network that corrects f(z) by what it sees in an image.

    Attributes:
        widths: Channels at prior space's grid, and at a half, a quarter and an eighth of it;
            multiples of 8.
        num_blocks: Residual blocks at each of these on the way down; one each on the way up.
    """

    widths: tuple[Width, Width, Width, Width] = (32, 64, 96, 128)
    num_blocks: tuple[int, int, int, int] = (1, 1, 2, 2)
