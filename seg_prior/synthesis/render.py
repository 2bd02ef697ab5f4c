"""Images of anatomies whose appearance is known: texture, blur, slices, bias field, noise."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from seg_prior.config.synthesis import SynthesisConfig
from seg_prior.synthesis.contrast import Appearance
from seg_prior.synthesis.fields import Shape, happens, smooth_field, uniform
from seg_prior.synthesis.sources import Sources

_BLUR_VOXELS = (0.3, 0.9)
_THICK_VOXELS = (1.5, 3.0)
_PATCH_KNOTS, _BIAS_KNOTS = 12, 4


def render(
    anatomy: NDArray[np.int16],
    sources: Sources,
    appearance: Appearance,
    spacing_mm: float,
    config: SynthesisConfig,
    generator: torch.Generator,
) -> NDArray[np.float32]:
    """One image of an anatomy.

    Args:
        anatomy: (D, H, W) indices of sources.
        sources: What they mean.
        appearance: Means and deviations of the sources.
        spacing_mm: Of the voxels, along each axis.
        config: Spread of all else.
        generator: Of everything random.

    Returns:
        (D, H, W), relative intensity.
    """
    image = _textured(anatomy, sources, appearance, spacing_mm, config, generator)
    low, high = config.blur_sd_mm or tuple(spacing_mm * sd for sd in _BLUR_VOXELS)
    sd_mm = uniform(low, high, generator)
    image = np.asarray(ndimage.gaussian_filter(image, sd_mm / spacing_mm, truncate=3), np.float32)
    if happens(config.thick_share, generator):
        thinnest, default = (spacing_mm * n for n in _THICK_VOXELS)
        thickest = default if config.max_slice_mm is None else config.max_slice_mm
        axis = int(torch.randint(3, (1,), generator=generator))
        image = in_slices(image, axis, uniform(thinnest, thickest, generator) / spacing_mm)
    shape = _shape(image)
    if happens(config.biased_share, generator):
        image *= bias_field(shape, spacing_mm, config, generator).numpy()
    noise = uniform(0.0, config.max_noise, generator)
    image += noise * torch.randn(shape, generator=generator).numpy()
    return image


def bias_field(
    shape: Shape, spacing_mm: float, config: SynthesisConfig, generator: torch.Generator
) -> Tensor:
    """(D, H, W) factors, whose logarithm is at most `config.max_log_bias` anywhere."""
    log_bias = smooth_field(shape, generator, _BIAS_KNOTS, spacing_mm, config.bias_mm)
    log_bias = log_bias / log_bias.abs().max()
    return torch.exp(uniform(0.0, config.max_log_bias, generator) * log_bias)


def in_slices(
    image: NDArray[np.float32], axis: int, thickness_voxels: float
) -> NDArray[np.float32]:
    """Slices of a thickness along one axis, interpolated to the voxels there were."""
    shape = _shape(image)
    i, j, k = (max(3, round(n / thickness_voxels)) if a == axis else n for a, n in enumerate(shape))
    slices = F.adaptive_avg_pool3d(torch.from_numpy(image)[None, None], (i, j, k))
    thick = F.interpolate(slices, size=shape, mode="trilinear", align_corners=False)
    return np.asarray(thick[0, 0].numpy())


def _textured(
    anatomy: NDArray[np.int16],
    sources: Sources,
    appearance: Appearance,
    spacing_mm: float,
    config: SynthesisConfig,
    generator: torch.Generator,
) -> NDArray[np.float32]:
    """Means of the sources and their texture, white and smooth; the outside is never even."""
    shape = _shape(anatomy)
    mean, sd = appearance.mean.numpy(), appearance.sd.numpy()
    texture = torch.randn(shape, generator=generator)
    if config.patchiness > 0:
        smooth = smooth_field(shape, generator, _PATCH_KNOTS, spacing_mm, config.patch_mm)
        texture = texture + config.patchiness * smooth
    image = mean[anatomy] + sd[anatomy] * texture.numpy()
    patches = smooth_field(shape, generator, _PATCH_KNOTS, spacing_mm, config.patch_mm).numpy()
    is_patchy = sources.is_outside.copy()
    is_patchy[0] &= not config.is_background_air
    return np.asarray(image + config.background_sd * is_patchy[anatomy] * patches, dtype=np.float32)


def _shape(grid: NDArray[np.generic]) -> Shape:
    return (grid.shape[0], grid.shape[1], grid.shape[2])
