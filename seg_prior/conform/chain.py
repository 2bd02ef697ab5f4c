"""Native space to prior space in one go: field of view, bias, scale, registration, resampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_prior.conform.intensity import correct_bias, normalise, observed
from seg_prior.conform.pose import PosePrior
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
        pose_prior: Where in an image the anatomy lies, if label maps say it.
    """

    painted: NDArray[np.float32]
    anatomy: NDArray[np.bool_]
    grid: Grid
    pose_prior: PosePrior | None = None


@dataclass(frozen=True, eq=False)
class Conformed:
    """One image in both spaces.

    Attributes:
        native: (I, J, K) normalised intensity, 0 where not observed.
        native_observed: (I, J, K), the field of view.
        moved: The native grid, carried to prior space by the registration.
        image, observed: (D, H, W) on the prior grid, float32; observed is 0 or 1.
        registration: How it was carried.
    """

    native: Tensor
    native_observed: Tensor
    moved: Grid
    image: Tensor
    observed: Tensor
    registration: Registration


def conform(volume: Volume, atlas: Atlas, n4: bool, seed: int) -> Conformed:
    """Bring an image to prior space.

    Args:
        volume: Any contrast, orientation and spacing.
        atlas: The prior as registration sees it.
        n4: Divide by the bias field that N4 finds.
        seed: Of the registration.

    Raises:
        ImageError: The image is constant.
    """
    in_view = observed(volume.data)
    data: NDArray[Any] = volume.data
    native = normalise(data, in_view, volume.source)
    if n4:
        native = normalise(correct_bias(data, in_view, volume.grid), in_view, volume.source)
    registration = register(
        native,
        in_view,
        volume.grid,
        atlas.painted,
        atlas.grid,
        atlas.anatomy,
        seed,
        atlas.pose_prior,
    )
    moved = Grid(volume.grid.shape, registration.prior_from_native @ volume.grid.affine)
    weight = torch.from_numpy(in_view).float()
    values = torch.from_numpy(native)
    pair = resample_mean(torch.stack([values * weight, weight]), moved, atlas.grid)
    is_observed = pair[1] >= 0.5
    image = torch.where(is_observed, pair[0] / pair[1].clamp_min(0.5), 0.0)
    return Conformed(
        values, torch.from_numpy(in_view), moved, image, is_observed.float(), registration
    )
