"""A tiny anatomy with sides: a shell around a core, and two nuclei that share its intensity."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from seg_prior.config.networks import VAEConfig
from seg_prior.core.grid import Grid
from seg_prior.core.labels import Label, LabelTable
from seg_prior.models.likelihood import Intensities, IntensityClasses
from seg_prior.models.location import LocationPrior, location_prior

SHAPE = (16, 16, 24)
SPACING_MM = 4.0
NUM_LABELS = 5
SHELL, CORE, LEFT, RIGHT = 1, 2, 3, 4
TINY = VAEConfig(latent_channels=4, widths=(8, 8, 16), num_blocks=1)


def untied(
    names: tuple[str, ...], class_of_label: list[int], class_of_component: list[int]
) -> IntensityClasses:
    """Classes of which each has its own Gaussians; the first is background."""
    every = torch.arange(len(names))
    return IntensityClasses(
        names,
        every == 0,
        torch.tensor(class_of_label),
        names,
        every,
        torch.tensor(class_of_component),
    )


CLASSES = untied(("background", "outer", "inner"), [0, 1, 2, 1, 1], [0, 1, 2])
MIXED = untied(CLASSES.names, CLASSES.class_of_label.tolist(), [0, 0, 0, 1, 2, 2])
"""The same of three, one and two Gaussians."""
MEANS = torch.tensor([0.1, 0.9, 0.5])


def grid() -> Grid:
    """World x, y, z = 0 lies in the middle, between voxels."""
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    affine[:3, 3] = -SPACING_MM * (np.array(SHAPE) - 1) / 2
    return Grid(SHAPE, affine)


def table(ids: tuple[int, ...] = (0, 10, 20, 31, 32)) -> LabelTable:
    """Names, sides and classes of the five labels, under any ids."""
    names = ("Background", "Shell", "Core", "Left", "Right")
    classes = ("background", "outer", "inner", "outer", "outer")
    partner = (0, 1, 2, 4, 3)
    labels = [
        Label(
            id=ids[n],
            name=names[n],
            source_ids=(ids[n],),
            intensity_class=classes[n],
            partner_id=ids[partner[n]],
            is_structure=n > 0,
        )
        for n in range(NUM_LABELS)
    ]
    return LabelTable(labels=tuple(sorted(labels, key=lambda label: label.id)))


def label_map(size: float = 1.0, nuclei: float = 1.0, shift: float = 0.0) -> Tensor:
    """(16, 16, 24) uint8: `size` of shell and core, `nuclei`'s size, `shift` in voxels along k."""
    axes = [torch.arange(n) - (n - 1) / 2 for n in SHAPE]
    i, j, k = torch.meshgrid(*axes, indexing="ij")
    k = k - shift
    radius = (i / 6.5).square() + (j / 6.0).square() + (k / 9.5).square()
    labels = torch.zeros(SHAPE, dtype=torch.uint8)
    labels[radius < size**2] = SHELL
    labels[radius < (0.75 * size) ** 2] = CORE
    for center, label in ((-2.5, LEFT), (2.5, RIGHT)):
        ball = (i - center).square() + j.square() + (k - 1).square()
        labels[ball < (1.8 * nuclei) ** 2] = label
    return labels


def label_maps() -> list[Tensor]:
    """Six anatomies that differ in three ways."""
    return [
        label_map(size, nuclei, shift)
        for size, nuclei, shift in (
            (0.9, 1.2, 0.0),
            (1.0, 1.0, 1.0),
            (1.1, 0.8, -1.0),
            (0.95, 0.9, 0.6),
            (1.05, 1.1, -0.4),
            (1.0, 1.3, 0.2),
        )
    ]


def frequency() -> Tensor:
    """(L, 16, 16, 24) share of the six anatomies."""
    one_hot = torch.stack([torch.nn.functional.one_hot(m.long(), NUM_LABELS) for m in label_maps()])
    return one_hot.float().mean(0).permute(3, 0, 1, 2)


def location() -> LocationPrior:
    """The location prior of the six anatomies."""
    return location_prior(frequency())


def inside(prior: LocationPrior, labels: Tensor) -> Tensor:
    """(16, 16, 24) -> (1, V)."""
    return labels.flatten()[prior.voxels.cpu()][None]


def paint(labels: Tensor, means: Tensor = MEANS, sd: float = 0.03, seed: int = 0) -> Tensor:
    """Class means and white noise: any shape of label indices -> the same shape."""
    noise = torch.randn(labels.shape, generator=torch.Generator().manual_seed(seed))
    return means[CLASSES.class_of_label[labels.long()]] + sd * noise


def gaussians(
    mean: list[float], var: list[float], classes: IntensityClasses = CLASSES
) -> Intensities:
    """Gaussians of one image of one channel; a class mixes its own at equal weights."""
    own = classes.draws_from.float()
    log_weight = (own / own.sum(1, keepdim=True)).log()[None]
    return Intensities(torch.tensor([[mean]]), torch.tensor([[var]]), log_weight, classes)


def painted(location: LocationPrior, means: Tensor = MEANS) -> Tensor:
    """(1, 1, V) image of one anatomy."""
    return paint(inside(location, label_map()), means)[None]
