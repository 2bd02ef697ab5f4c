"""Random anatomies, and images painted from them."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from seg_prior.config.base import FrozenModel

Knots = Annotated[float, Field(gt=0, le=1000)]
Deviation = Annotated[float, Field(ge=0, le=1000)]
Blur = Annotated[float, Field(ge=0, le=10)]


class AugmentConfig(FrozenModel):
    """Spread of the random anatomies made from each label map; 0 switches a part off."""

    rotation_sd_deg: float = Field(2.0, ge=0, le=180)
    """Standard deviation about each axis."""
    shear_sd: float = Field(0.015, ge=0, le=1)
    """Standard deviation along each axis."""
    log_scale_sd: float = Field(0.03, ge=0, le=1)
    """Standard deviation along each axis."""
    shift_sd_mm: float = Field(1.5, ge=0, le=1000)
    """Standard deviation along each axis."""
    warp_knots_mm: tuple[Knots, ...] = (40.0, 16.0)
    """Distance of the control points of the smooth warp, for each of its scales."""
    warp_sd_mm: tuple[Deviation, ...] = (3.0, 1.5)
    """Of the velocity there; a draw's strength is 0 to 1, so it moves by about 0.4 of this."""
    flip: bool = True
    """Swap left and right in half of the draws, where the label table has partners."""

    @model_validator(mode="after")
    def _has_a_deviation_for_each_scale(self) -> Self:
        if len(self.warp_knots_mm) != len(self.warp_sd_mm):
            raise ValueError("need as many warp_knots_mm as warp_sd_mm")
        return self


class PaintConfig(FrozenModel):
    """Spread of painted images; means of intensity classes are uniform between 0 and 1."""

    max_label_sd: float = Field(0.12, ge=0, le=10)
    """Largest deviation of the means of labels within one class."""
    max_sd: float = Field(0.1, ge=0, le=10)
    """Largest standard deviation within a label."""
    background_sd: float = Field(0.3, ge=0, le=10)
    """How far background differs from place to place."""
    blur_sd_voxels: tuple[Blur, Blur] = (0.3, 0.9)
    """Range of the Gaussian blur, in voxels of prior space."""
    thick_share: float = Field(0.2, ge=0, le=1)
    """Share of images with thick slices along one axis."""
    max_slice_voxels: float = Field(3.0, ge=1, le=4)
    """How thick at most, in voxels of prior space, at most 4."""
    max_log_bias: float = Field(0.2, ge=0, le=10)
    """Largest standard deviation of the log bias field."""
    max_noise: float = Field(0.05, ge=0, le=10)
    """Largest standard deviation of white noise."""
    stripped_share: float = Field(0.5, ge=0, le=1)
    """Share of images of which only the anatomy is in the field of view."""
