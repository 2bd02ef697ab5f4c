"""The intensity model that a prior carries."""

from __future__ import annotations

from pydantic import Field

from seg_prior.config.base import FrozenModel


class IntensityConfig(FrozenModel):
    """The intensity model that a prior carries.

    Attributes:
        ties: New name -> intensity classes of the label table that share its Gaussians; each mixes
            them by weights of its own.
        components: Tie, or class that stands alone -> number of Gaussians; 1 where none is named.
        typical: Class of the label table -> typical relative intensity, for painting the image
            that registration compares with. Mutual information is used, so only which classes
            differ matters; classes not named are spread evenly.
        evidence: Power of the likelihood in the posterior of a prior with detail. Its f(z) has
            read every voxel already, and 1 lets each speak a second time as loudly: right where
            Gaussians tell tissues apart, too loud where neighbours share one intensity.
    """

    ties: dict[str, list[str]] = {}
    components: dict[str, int] = {"background": 3}
    typical: dict[str, float] = {}
    evidence: float = Field(1.0, gt=0, le=1)
