"""The intensity model that a prior carries."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from seg_prior.config.base import FrozenModel


class IntensityConfig(FrozenModel):
    """The intensity model that a prior carries."""

    ties: dict[str, list[str]] = {}
    """New name -> intensity classes that share its Gaussians, each mixing them by own weights."""
    components: dict[str, Annotated[int, Field(ge=1, le=64)]] = {"background": 3}
    """Tie, or class that stands alone -> number of Gaussians; 1 where none is named."""
    typical: dict[str, Annotated[float, Field(ge=-1e6, le=1e6)]] = {}
    """Class -> relative intensity in the image that registration compares with; spread evenly
    where none is named. Mutual information is used, so only which classes differ matters."""
    likelihood_power: float = Field(1.0, gt=0, le=1)
    """Power of the likelihood in the posterior of a prior with detail. Its f(z) has read every
    voxel already, and 1 lets each speak a second time as loudly: right where Gaussians tell
    tissues apart, too loud where neighbours share one intensity."""
