"""Native space to prior space in one go: field of view, bias, scale, registration, resampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_prior.conform.intensity import correct_bias, normalise, observed
from seg_prior.conform.register import Registration, register
from seg_prior.conform.resample import resample_mean
from seg_prior.grid import Grid
from seg_prior.volume import Volume


@dataclass(frozen=True, eq=False)
class Atlas:
    """What registration compares an image with.

    Attributes:
        painted: (D, H, W) expected relative intensity, 0 outside the anatomy.
        anatomy: (D, H, W), where anatomy is likelier than background.
        grid: Prior space.
    """

    painted: NDArray[np.float32]
    anatomy: NDArray[np.bool_]
    grid: Grid


@dataclass(frozen=True, eq=False)
class Conformed:
    """H contrasts of one subject in both spaces.

    Attributes:
        native, native_observed: (H, I, J, K) normalised intensity on the grid of the first, 0
            where not observed; and where it is, bool.
        moved: The native grid, carried to prior space by the registration.
        image, observed: (H, D, H', W) on the prior grid, float32; observed is 0 or 1.
        registration: How the first was carried, and all with it.
    """

    native: Tensor
    native_observed: Tensor
    moved: Grid
    image: Tensor
    observed: Tensor
    registration: Registration


def conform(volumes: Sequence[Volume], atlas: Atlas, n4: bool, seed: int) -> Conformed:
    """Bring a subject to prior space.

    Args:
        volumes: At least one; contrasts of one subject that their affines lay upon each other. The
            first is registered and lends its grid.
        atlas: The prior as registration sees it.
        n4: Divide by the bias field that N4 finds.
        seed: Of the registration.

    Raises:
        ImageError: An image is constant.
    """
    leader = volumes[0].grid
    pairs = [_normalised(volume, n4) for volume in volumes]
    image, in_view = (part.numpy() for part in pairs[0])
    registration = register(
        image, in_view > 0, leader, atlas.painted, atlas.grid, atlas.anatomy, seed
    )
    moves = [registration.prior_from_native @ volume.grid.affine for volume in volumes]
    moved = [Grid(volume.grid.shape, move) for volume, move in zip(volumes, moves, strict=True)]
    in_prior = [_carry(pair, grid, atlas.grid) for pair, grid in zip(pairs, moved, strict=True)]
    native = [
        pair if volume.grid.same_as(leader) else _carry(pair, volume.grid, leader)
        for pair, volume in zip(pairs, volumes, strict=True)
    ]
    return Conformed(
        torch.stack([pair[0] for pair in native]),
        torch.stack([pair[1] > 0 for pair in native]),
        moved[0],
        torch.stack([pair[0] for pair in in_prior]),
        torch.stack([pair[1] for pair in in_prior]),
        registration,
    )


def _normalised(volume: Volume, n4: bool) -> Tensor:
    """(2, I, J, K): normalised intensity, and 1 where it was observed."""
    in_view = observed(volume.data)
    image = normalise(volume.data, in_view, volume.source)
    if n4:
        corrected = correct_bias(volume.data, in_view, volume.grid)
        image = normalise(corrected, in_view, volume.source)
    return torch.from_numpy(np.stack([image, in_view]))


def _carry(pair: Tensor, source: Grid, target: Grid) -> Tensor:
    """An image and its field of view on another grid; a voxel that is half in view is observed."""
    image, weight = pair
    total, share = resample_mean(torch.stack([image * weight, weight]), source, target)
    is_observed = share >= 0.5
    return torch.stack(
        [torch.where(is_observed, total / share.clamp_min(0.5), 0.0), is_observed.float()]
    )
