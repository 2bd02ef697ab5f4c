"""Random anatomies, and synthetic scans of them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from seg_prior.config.base import FrozenModel, Id, Share

Contrast = Literal["straight", "inverted", "tent", "tied", "untied"]
"""Of the typical intensities, those of T1w for a brain: as they are, upside down (T2w), brightest
in the middle (FLAIR); or any, one for all labels that share Gaussians, or one for each label."""
View = Literal["whole", "zeroed", "faceless", "inside", "rim", "tight"]
"""All that a scanner sees; without air; without air and face; without what is outside the organ;
the structures in a rim of what surrounds them; the structures alone."""
Weight = Annotated[float, Field(ge=0, le=1e6)]
Length = Annotated[float, Field(gt=0, le=1000)]
Knots = Annotated[float, Field(gt=0, le=1000)]
Deviation = Annotated[float, Field(ge=0, le=1000)]
Blur = Annotated[float, Field(ge=0, le=100)]
Spread = Annotated[float, Field(ge=0, le=10)]
"""Of relative intensities or of factors."""


class AugmentConfig(FrozenModel):
    """Spread of the random anatomies made from each label map; 0 switches a part off."""

    rotation_sd_deg: float = Field(2.0, ge=0, le=180)
    """Standard deviation about each axis."""
    shear_sd: float = Field(0.015, ge=0, le=1)
    """Standard deviation along each axis."""
    log_scale_sd: float = Field(0.03, ge=0, le=1)
    """Standard deviation along each axis."""
    shift_sd_mm: float = Field(1.5, ge=0, le=1000)
    """Standard deviation along each axis."""
    warp_knots_mm: tuple[Knots, ...] = (40.0, 16.0)
    """Distance of the control points of the smooth warp, for each of its scales."""
    warp_sd_mm: tuple[Deviation, ...] = (3.0, 1.5)
    """Of the velocity there; a draw's strength is 0 to 1, so it moves by about 0.4 of this."""
    flip: bool = True
    """Swap left and right in half of the draws, where the label table has partners."""

    @model_validator(mode="after")
    def _has_a_deviation_for_each_scale(self) -> Self:
        if len(self.warp_knots_mm) != len(self.warp_sd_mm):
            raise ValueError(
                f"found {len(self.warp_knots_mm)} warp_knots_mm and {len(self.warp_sd_mm)} "
                "warp_sd_mm, need as many of both"
            )
        return self


class Growth(FrozenModel):
    """How a structure changes with age."""

    ids: tuple[Id, ...]
    """Of label maps; together they are the structure."""
    border_mm: float = Field(ge=-1000, le=1000)
    """How far age 1 moves its border outwards; negative shrinks it."""
    reach_mm: Length
    """How far around the border tissue moves along."""


class AgeingConfig(FrozenModel):
    """What age does to an organ, by the ids of its label maps; nothing where none are named."""

    aged_share: Share = 0.6
    """Of anatomies that are aged at all."""
    max_age: Spread = 2.0
    """In the unit of `Growth.border_mm`; the young are drawn more often than the old."""
    growth: tuple[Growth, ...] = ()
    """Of structures, each by a strength of its own."""
    size_sd: Spread = 0.25
    """Growth that no age explains, of all anatomies; in parts of `Growth.border_mm`."""
    cortex: dict[Id, Id] = {}
    """Id of cortex -> of the white matter below, which it recedes into where fluid takes it."""
    fluid: Id | None = None
    """Id of what widens the sulci."""
    widening_mm: Blur = 1.3
    """How far fluid grows into cortex at age 1, at most; it varies from place to place."""
    hidden_share: Share = 0.0
    """Of anatomies whose label maps close thin sulci: fluid is seen there, and cortex labelled."""
    hidden_beyond_mm: tuple[Blur, Blur] = (2.3, 4.0)
    """Range of how far from white matter such fluid begins; it varies from place to place."""
    lesions: dict[Id, Id] = {}
    """Id of white matter -> of lesions in it."""
    lesion_sources: tuple[Id, ...] = ()
    """Ids that lesions lie near to."""
    lesion_share: Share = 0.3
    """Of anatomies with lesions."""
    max_lesion_load: Share = 0.05
    """Largest share of white matter that lesions take."""


class SynthesisConfig(FrozenModel):
    """Spread of synthetic scans: ageing, contrast, what a scanner does to it, what is in view.

    Intensities are relative: those of anatomy lie between 0 and 1.
    """

    ageing: AgeingConfig = AgeingConfig()
    """Of anatomies, beyond what the label maps show."""
    contrasts: dict[Contrast, Weight] = {"straight": 1, "inverted": 1, "tent": 1}
    """Contrast -> how often, in proportion."""
    max_source_sd: Spread = 0.05
    """Largest deviation of the means of ids from what the contrast says of their label."""
    free_ids: tuple[Id, ...] = ()
    """Ids of label maps with an intensity that no contrast tells, such as lesions."""
    lopsided_share: Share = 1.0
    """Of scans in which the two sides of the body differ in their means."""
    is_background_air: bool = False
    """Whether label 0 is air, dark and even; else it is whatever surrounds an organ."""
    background_sd: Spread = 0.3
    """How far the outside, but for air, differs from place to place."""
    max_sd: Spread = 0.1
    """Largest standard deviation within a label."""
    patchiness: Spread = 0.0
    """Deviation of a smooth texture within a label, in parts of its white texture's."""
    patch_mm: Length | None = None
    """Between the knots of smooth texture; None puts 12 along each axis."""
    blur_sd_mm: tuple[Blur, Blur] | None = None
    """Range of the Gaussian blur; None is 0.3 to 0.9 voxels."""
    thick_share: Share = 0.2
    """Of scans with thick slices along one axis."""
    max_slice_mm: Length | None = None
    """How thick at most; None is 3 voxels. The thinnest of the thick have 1.5 voxels."""
    biased_share: Share = 1.0
    """Of scans with a bias field."""
    max_log_bias: Spread = 0.45
    """Largest log of the field; 0.55 is a factor of 3 between its darkest and brightest place."""
    bias_mm: Length | None = None
    """Between the knots of the bias field; None puts 4 along each axis."""
    max_noise: Spread = 0.05
    """Largest standard deviation of white noise."""
    views: dict[View, Weight] = {"rim": 1}
    """What is in view -> how often, in proportion."""
    max_raggedness: Spread = 0.0
    """How far the border of what is in view strays, in parts of its width at the blur below."""
    border_sd_mm: Length | None = None
    """Blur of the border of what is in view; None is one voxel."""
    cut_share: Share = 0.0
    """Of whole, zeroed and faceless scans whose field of view ends in the anatomy."""
    max_cut: Share = 0.2
    """Largest share of the field of view that is cut away at one end of one axis."""

    @model_validator(mode="after")
    def _has_something_to_draw(self) -> Self:
        for name, weights in (("contrasts", self.contrasts), ("views", self.views)):
            if sum(weights.values()) <= 0:
                raise ValueError(f"found no weight above 0 among {name}, need one")
        return self
