"""Form of the networks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from seg_prior.config.base import FrozenModel, Id, Share

Width = Annotated[int, Field(gt=0, le=2048, multiple_of=8)]
Blocks = Annotated[int, Field(ge=0, le=32)]
Nats = Annotated[float, Field(ge=-100, le=100)]


class VAEConfig(FrozenModel):
    """Shape of the label VAE."""

    latent_channels: int = Field(8, ge=3, le=256)
    """C; z has C numbers for each block of 8 x 8 x 8 voxels of prior space."""
    detail_channels: int = Field(0, ge=0, le=256)
    """F; z has F more for each 2 x 2 x 2 voxels; 0 for few or small maps, which teach none."""
    widths: tuple[Width, Width, Width] = (32, 64, 128)
    """Channels at 1/2, 1/4 and 1/8 of the grid, each a multiple of 8."""
    num_blocks: Blocks = 2
    """Residual blocks at 1/4 and at 1/8, in encoder and decoder each."""


class LocatorConfig(FrozenModel):
    """Form of the network that sees which labels lie where in an image."""

    spacing_mm: float = Field(gt=0, le=1000)
    """Of the grid that it sees images on."""
    widths: tuple[Width, Width, Width] = (32, 64, 96)
    """Channels at a half, a quarter and an eighth of that grid; multiples of 8."""


class ReaderConfig(FrozenModel):
    """Form of the network that corrects f(z) by what it sees in an image."""

    widths: tuple[Width, Width, Width, Width] = (32, 64, 96, 128)
    """Channels at prior space's grid, and at a half, a quarter and an eighth; multiples of 8."""
    num_blocks: tuple[Blocks, Blocks, Blocks, Blocks] = (1, 1, 2, 2)
    """Residual blocks at each of these on the way down; one each on the way up."""


class OffsetConfig(FrozenModel):
    """What is added to h, because the anatomies of the training are older than most people's."""

    nats: dict[int, Nats] = {}
    """Id -> added to h of this label everywhere."""
    gauge_ids: tuple[Id, ...] = ()
    """Labels whose share of the anatomy, by f(z), says how old it looks; none: all is added."""
    fades: tuple[Share, Share] = (0.0, 1.0)
    """Share of the gauge up to which all of it is added, and from which nothing is."""

    @field_validator("fades")
    @classmethod
    def _rises(cls, fades: tuple[float, float]) -> tuple[float, float]:
        if not fades[0] < fades[1]:
            raise ValueError(f"found {fades[0]:g} to {fades[1]:g}, need a first below the second")
        return fades


class DetailFlowConfig(FrozenModel):
    """Form of the network that draws the detail of an anatomy."""

    width: Width = 64
    """Channels at a quarter of prior space's grid; a multiple of 8."""
    fine_width: Width = 32
    """Channels that each cell hears of its neighbourhood; a multiple of 8."""
    num_blocks: Blocks = 3
    """Residual blocks there."""
    num_fine_blocks: int = Field(default=0, ge=0, le=8)
    """Residual blocks among the cells; flows of before have none."""
