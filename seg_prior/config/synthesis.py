"""Random anatomies, and images painted from them."""

from __future__ import annotations

from pydantic import Field

from seg_prior.config.base import FrozenModel


class AugmentConfig(FrozenModel):
    """Spread of the random anatomies made from each label map; 0 switches a part off."""

    rotation_sd_deg: float = 2.0
    """Standard deviation about each axis."""
    shear_sd: float = 0.015
    """Standard deviation along each axis."""
    log_scale_sd: float = 0.03
    """Standard deviation along each axis."""
    shift_sd_mm: float = 1.5
    """Standard deviation along each axis."""
    warp_knots_mm: tuple[float, ...] = (40.0, 16.0)
    """Distance of the control points of the smooth warp, for each of its scales."""
    warp_sd_mm: tuple[float, ...] = (3.0, 1.5)
    """Of the velocity there; a draw's strength is 0 to 1, so it moves by about 0.4 of this."""
    flip: bool = True
    """Swap left and right in half of the draws, where the label table has partners."""


class PaintConfig(FrozenModel):
    """Spread of painted images; means of intensity classes are uniform between 0 and 1."""

    max_label_sd: float = 0.12
    """Largest deviation of the means of labels within one class."""
    max_sd: float = 0.1
    """Largest standard deviation within a label."""
    background_sd: float = 0.3
    """How far background differs from place to place."""
    blur_sd_voxels: tuple[float, float] = (0.3, 0.9)
    """Range of the Gaussian blur, in voxels of prior space."""
    thick_share: float = 0.2
    """Share of images with thick slices along one axis."""
    max_slice_voxels: float = Field(3.0, ge=1, le=4)
    """How thick at most, in voxels of prior space, at most 4."""
    max_log_bias: float = 0.2
    """Largest standard deviation of the log bias field."""
    max_noise: float = 0.05
    """Largest standard deviation of white noise."""
    stripped_share: float = 0.5
    """Share of images of which only the anatomy is in the field of view."""
