"""Contrasts: how bright every source of a label map is, and how much it varies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seg_prior.config.synthesis import Contrast, SynthesisConfig
from seg_prior.synthesis.fields import choose, happens, uniform
from seg_prior.synthesis.sources import Sources

_CURVE_SD = 0.3
_MAX_AIR = 0.06
_MAX_OUTSIDE = 1.2  # fat outshines what one looks at
_MIN_SD = 0.2  # of the largest that was drawn for the scan


@dataclass(frozen=True, eq=False)
class Appearance:
    """How a scan shows its sources.

    Attributes:
        mean, sd: (S,), relative intensity and its deviation within each source.
        contrast: Its name.
    """

    mean: Tensor
    sd: Tensor
    contrast: Contrast


def sample_contrast(
    sources: Sources, config: SynthesisConfig, generator: torch.Generator
) -> Appearance:
    """A random contrast of the kinds that the config names."""
    contrast = choose(config.contrasts, generator)
    return appearance(sources, contrast, config, generator)


def appearance(
    sources: Sources, contrast: Contrast, config: SynthesisConfig, generator: torch.Generator
) -> Appearance:
    """Means and deviations of one contrast; sources outside and free ones have any mean."""
    num = len(sources)
    mean = _means(sources, contrast, generator)
    source_sd = uniform(0.0, config.max_source_sd, generator)
    mean = mean + source_sd * torch.randn(num, generator=generator)
    anything = torch.rand(num, generator=generator)
    is_free = torch.from_numpy(sources.are(config.free_ids))
    mean = torch.where(is_free, anything, mean)
    # Background itself keeps its typical intensity; it is what the other sources lie in.
    is_tissue = torch.from_numpy(sources.is_outside & (sources.ids != 0))
    mean = torch.where(is_tissue, _MAX_OUTSIDE * anything, mean)
    if config.is_background_air:
        mean[0] = uniform(0.0, _MAX_AIR, generator)
    if not happens(config.lopsided_share, generator):
        mean = (mean + mean[torch.from_numpy(sources.partner).long()]) / 2
    largest = uniform(_MIN_SD, 1.0, generator) * config.max_sd
    return Appearance(mean, largest * torch.rand(num, generator=generator), contrast)


def curve(typical: Tensor, contrast: Contrast, generator: torch.Generator) -> Tensor:
    """Typical intensities through a random curve of `straight`, `inverted` or `tent`.

    Args:
        typical: 0 to 1.
        contrast: Which of the three.
        generator: Of the curve: a power, for `tent` also the place of its top.
    """
    power = math.exp(_CURVE_SD * float(torch.randn(1, generator=generator)))
    mean = typical.clamp(0, 1).pow(power)
    if contrast == "inverted":
        return 1 - mean
    if contrast == "tent":
        top = uniform(0.5, 0.7, generator)
        return 1 - (typical - top).abs() / max(top, 1 - top)
    return mean


def _means(sources: Sources, contrast: Contrast, generator: torch.Generator) -> Tensor:
    if contrast == "tied":
        by_tie = torch.rand(int(sources.tie.max()) + 1, generator=generator)
        return by_tie[torch.from_numpy(sources.tie)]
    if contrast == "untied":
        by_label = torch.rand(sources.num_labels, generator=generator)
        return by_label[torch.from_numpy(sources.label).long()]
    return curve(torch.from_numpy(sources.typical), contrast, generator)
