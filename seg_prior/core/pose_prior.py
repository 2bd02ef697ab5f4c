"""A pose prior as a checkpoint's header holds it; how it is fitted and used says conform.pose."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Floats = NDArray[np.float64]
Number = Annotated[float, Field(ge=-1e7, le=1e7)]
Twelve = Annotated[tuple[Number, ...], Field(min_length=12, max_length=12)]


class PosePrior(BaseModel):
    """A Gaussian over affines: linear part, and shift from the middle of the field of view.

    Attributes:
        mean: 12 numbers: the linear part of native_from_prior row by row, and where the prior
            frame's origin lies in world axes from the middle of the image, in mm.
        factor: (12, 12), times its transpose the covariance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mean: Twelve
    factor: tuple[Twelve, ...] = Field(min_length=12, max_length=12)

    def poses(self, u: Floats, center_mm: Floats) -> Floats:
        """(P, 12) standard normal numbers -> (P, 4, 4) native_from_prior.

        Args:
            u: 0 is the mean pose.
            center_mm: (3,) middle of the image.
        """
        numbers = np.array(self.mean) + u @ np.array(self.factor).T
        poses = np.tile(np.eye(4), (len(u), 1, 1))
        poses[:, :3, :3] = numbers[:, :9].reshape(-1, 3, 3)
        poses[:, :3, 3] = numbers[:, 9:] + center_mm
        return poses

    def standard(self, native_from_prior: Floats, center_mm: Floats) -> Floats:
        """(4, 4) -> the (12,) numbers that `poses` makes it of."""
        linear, origin_mm = native_from_prior[:3, :3], native_from_prior[:3, 3]
        numbers = np.append(linear.ravel(), origin_mm - center_mm)
        return np.asarray(np.linalg.solve(np.array(self.factor), numbers - np.array(self.mean)))
