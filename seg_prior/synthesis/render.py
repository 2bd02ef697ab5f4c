"""Painted images: random anatomies in random contrast, so that q(z | x) learns from label maps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from seg_prior.config.synthesis import PaintConfig
from seg_prior.models.likelihood import IntensityClasses
from seg_prior.models.location import LocationPrior
from seg_prior.synthesis.anatomies import Anatomies, generator_of

PaintedSample = tuple[Tensor, Tensor, Tensor]

_MAX_TAPS = 5
"""Voxels that a blur or a slice reaches along one axis."""


class PaintedAnatomies(Dataset[PaintedSample]):
    """Random anatomies and images painted from them [Billot2023].

    Args:
        anatomies: Where label maps come from; item n here is painted from item n there.
        location: The anatomy mask.
        classes: Classes that share Gaussians.
        config: Spread of the paint.
    """

    def __init__(
        self,
        anatomies: Anatomies,
        location: LocationPrior,
        classes: IntensityClasses,
        config: PaintConfig,
    ) -> None:
        self.anatomies = anatomies
        self.location = location
        self.classes = classes
        self.config = config

    def __len__(self) -> int:
        return len(self.anatomies)

    def __getitem__(self, item: int) -> PaintedSample:
        """image (1, V), observed (1, V) 0 or 1, label_map (V,) uint8."""
        label_map, _ = self.anatomies[item]
        generator = generator_of(self.anatomies.seed + 1, item)
        image, observed = paint(label_map, self.location, self.classes, self.config, generator)
        return image[None], observed[None], label_map


def paint(
    label_map: Tensor,
    location: LocationPrior,
    classes: IntensityClasses,
    config: PaintConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """One image of an anatomy: class means, texture, blur, bias field, noise, field of view.

    Args:
        label_map: (V,) label indices.
        location: The anatomy mask; outside it lies background.
        classes: Labels of one tie have one mean, up to `config.max_label_sd`.
        config: Spread of the paint.
        generator: Of everything random.

    Returns:
        image, observed: (V,), float32.
    """

    num_labels = classes.class_of_label.numel()
    of_tie = torch.rand(len(classes.ties), generator=generator)
    mean = of_tie[classes.tie_of_class[classes.class_of_label]]
    # Labels of one tie differ, from hardly at all to so much that the tie is wrong.
    label_sd = _uniform(0.0, config.max_label_sd, generator)
    mean = mean + label_sd * torch.randn(num_labels, generator=generator)
    labels = location.scatter(label_map[None, None].float(), 0.0)[0, 0].long()
    is_inside = ~classes.is_outside[classes.class_of_label]
    image, in_view = render(labels, is_inside[labels], mean, config, generator)
    observed = location.gather(in_view[None, None].float())[0, 0]
    return location.gather(image[None, None])[0, 0] * observed, observed


def render(
    labels: Tensor,
    kept: Tensor,
    mean: Tensor,
    config: PaintConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """One image of labels whose means are known; lengths in the config are in its voxels.

    Args:
        labels: (D, H, W) int64 label indices.
        kept: (D, H, W) bool, what a stripping tool would leave.
        mean: (L,) intensity of each label.
        config: Spread of the paint.
        generator: Of everything random.

    Returns:
        image (D, H, W) float32, and in_view (D, H, W) bool: all, or a smooth mask of `kept`.
    """
    sd = config.max_sd * torch.rand(mean.numel(), generator=generator)
    noise = torch.randn(labels.shape, generator=generator)
    texture = mean[labels] + sd[labels] * noise
    # Background is a mixture: it changes its mean from place to place.
    shape = (labels.shape[0], labels.shape[1], labels.shape[2])
    patches = smooth_field(shape, 12, generator)
    texture = torch.where(labels == 0, texture + config.background_sd * patches, texture)
    texture = _blur(texture, _uniform(*config.blur_sd_voxels, generator))
    if _uniform(0.0, 1.0, generator) < config.thick_share:
        axis = int(torch.randint(3, (1,), generator=generator))
        texture = _thicken(texture, axis, _uniform(1.0, config.max_slice_voxels, generator))
    field = smooth_field(shape, 4, generator) * _uniform(0.0, config.max_log_bias, generator)
    noise = torch.randn(labels.shape, generator=generator)
    image = texture * torch.exp(field) + noise * _uniform(0.0, config.max_noise, generator)
    if _uniform(0.0, 1.0, generator) >= config.stripped_share:
        return image, torch.ones(shape, dtype=torch.bool)
    # Stripped: a smooth mask whose edge lies a little in or out of the anatomy.
    return image, _blur(kept.float(), 1.0) > _uniform(0.2, 0.6, generator)


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand(1, generator=generator))


def smooth_field(shape: tuple[int, int, int], num_knots: int, generator: torch.Generator) -> Tensor:
    """(D, H, W) of about unit deviation at its knots, interpolated linearly."""
    knots = torch.randn(1, 1, num_knots, num_knots, num_knots, generator=generator)
    return F.interpolate(knots, size=shape, mode="trilinear", align_corners=True)[0, 0]


def _thicken(image: Tensor, axis: int, thickness_voxels: float) -> Tensor:
    """Mean over slices of a thickness along one axis, as a scan of thick slices that has been
    interpolated shows it."""
    offset = torch.arange(-(_MAX_TAPS // 2), _MAX_TAPS // 2 + 1.0)
    weight = (thickness_voxels / 2 + 0.5 - offset.abs()).clamp(0, 1)
    return _convolve(image, weight / weight.sum(), axis)


def _convolve(image: Tensor, kernel: Tensor, axis: int) -> Tensor:
    """(D, H, W), along one axis; an odd kernel."""
    size, padding = [1, 1, 1], [0, 0, 0]
    size[axis], padding[axis] = kernel.numel(), kernel.numel() // 2
    return F.conv3d(image[None, None], kernel.view(1, 1, *size), padding=padding)[0, 0]


def _blur(image: Tensor, sd_voxels: float) -> Tensor:
    """Gaussian blur of (D, H, W), two voxels to each side."""
    offset = torch.arange(-(_MAX_TAPS // 2), _MAX_TAPS // 2 + 1.0)
    kernel = torch.exp(-0.5 * (offset / max(sd_voxels, 1e-3)).square())
    for axis in range(3):
        image = _convolve(image, kernel / kernel.sum(), axis)
    return image
