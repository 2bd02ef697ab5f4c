"""Random numbers and smooth random fields, from one generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

Shape = tuple[int, int, int]
Name = TypeVar("Name", bound=str)
_MAX_KNOTS = 64


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """Between low and high."""
    return low + (high - low) * float(torch.rand(1, generator=generator))


def normal(generator: torch.Generator) -> float:
    """Standard normal."""
    return float(torch.randn(1, generator=generator))


def happens(share: float, generator: torch.Generator) -> bool:
    """True in a share of the draws."""
    return uniform(0, 1, generator) < share


def choose(weights: Mapping[Name, float], generator: torch.Generator) -> Name:
    """One of several names, as often as their weights say."""
    names = list(weights)
    chances = torch.tensor([float(weights[name]) for name in names])
    return names[int(torch.multinomial(chances, 1, generator=generator))]


def smooth_field(
    shape: Shape,
    generator: torch.Generator,
    num_knots: int,
    spacing_mm: float = 1.0,
    knot_mm: float | None = None,
) -> Tensor:
    """(D, H, W) of unit deviation at its knots, interpolated linearly.

    Args:
        shape: D, H, W.
        generator: Of the values at the knots.
        num_knots: Along each axis, if no distance is given.
        spacing_mm: Of the voxels.
        knot_mm: Distance of the knots.
    """
    knots = [num_knots] * 3
    if knot_mm is not None:
        knots = [min(_MAX_KNOTS, round(n * spacing_mm / knot_mm) + 2) for n in shape]
    values = torch.randn(1, 1, *knots, generator=generator)
    return F.interpolate(values, size=shape, mode="trilinear", align_corners=True)[0, 0]
