"""Random anatomies, and images painted from them."""

from __future__ import annotations

from pydantic import Field

from seg_prior.config.base import FrozenModel


class AugmentConfig(FrozenModel):
    """Spread of the random anatomies made from each label map; 0 switches a part off.

    Attributes:
        rotation_sd_deg, shear_sd, log_scale_sd, shift_sd_mm: Standard deviations along each axis.
        warp_knots_mm, warp_sd_mm: Distance of the control points, and standard deviation of the
            velocity there, for each scale of the smooth warp. Each draw has a strength between 0
            and 1, so displacements have about 0.4 of this deviation.
        flip: Swap left and right in half of the draws, where the label table has partners.
    """

    rotation_sd_deg: float = 2.0
    shear_sd: float = 0.015
    log_scale_sd: float = 0.03
    shift_sd_mm: float = 1.5
    warp_knots_mm: tuple[float, ...] = (40.0, 16.0)
    warp_sd_mm: tuple[float, ...] = (3.0, 1.5)
    flip: bool = True


class PaintConfig(FrozenModel):
    """Spread of painted images; means of intensity classes are uniform between 0 and 1.

    Attributes:
        max_label_sd: Largest deviation of the means of labels within one class.
        max_sd: Largest standard deviation within a label.
        background_sd: How far background differs from place to place.
        blur_sd_voxels: Range of the Gaussian blur, in voxels of prior space.
        thick_share, max_slice_voxels: Share of images with thick slices along one axis, and how
            thick at most, in voxels of prior space, at most 4.
        max_log_bias: Largest standard deviation of the log bias field.
        max_noise: Largest standard deviation of white noise.
        stripped_share: Share of images of which only the anatomy is in the field of view.
    """

    max_label_sd: float = 0.12
    max_sd: float = 0.1
    background_sd: float = 0.3
    blur_sd_voxels: tuple[float, float] = (0.3, 0.9)
    thick_share: float = 0.2
    max_slice_voxels: float = Field(3.0, ge=1, le=4)
    max_log_bias: float = 0.2
    max_noise: float = 0.05
    stripped_share: float = 0.5
