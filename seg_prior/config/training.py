"""How priors and encoders are learned, whatever the files."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from seg_prior.config.base import FrozenModel, Share
from seg_prior.config.intensity import IntensityConfig
from seg_prior.config.networks import OffsetConfig, ReaderConfig, VAEConfig
from seg_prior.config.optim import MAX_STEPS, OptimConfig
from seg_prior.config.runtime import RuntimeConfig
from seg_prior.config.synthesis import AugmentConfig, SynthesisConfig


class PriorConfig(RuntimeConfig):
    """How a prior is learned from label maps."""

    kind: Literal["vae", "ae", "swae", "pca", "atlas"] = "vae"
    """atlas (no latent), pca (linear latent), or a network: vae, ae (codes lie anywhere) or swae
    (codes lie as N(0, I), by the sliced Wasserstein distance of a batch)."""
    density: Literal["normal", "mixture", "kde"] = "normal"
    """p(z): normal, or along the directions that lead a Gaussian mixture or a kernel density of the
    training maps' codes."""
    spacing_mm: float | None = Field(None, gt=0, le=1000)
    """Of prior space; None takes a 104th of the anatomy's longest side."""
    margin_mm: float = Field(6.0, ge=0, le=1000)
    """Of prior space around the anatomy."""
    pose: Literal["any", "as_maps"] = "any"
    """as_maps if scans have the label maps' field of view, such as crops around an organ: where it
    lies in the image is then learned from them. any makes no such claim."""
    holdout: list[str] = []
    """Subjects (file names up to the suffix) kept out of training for good, with all sessions of
    the same people, to measure reconstruction on."""
    holdout_share: float = Field(0.15, ge=0, le=0.5)
    """Share of the people on whom reconstruction is measured, after five sixths of the steps, and
    who are then trained in (p_loc of a network stays that of the others). None are where `holdout`
    names some or there are fewer than 5; 0 trains on all from the start."""
    num_components: int = Field(19, ge=0, le=1000)
    """Of kind pca; at most one less than there are maps and mirror images."""
    kl_warmup_steps: int = Field(200, ge=0, le=MAX_STEPS)
    """The KL term of a vae, and the distance of a swae, are ramped up (quadratically) over so many
    steps: with all of it from the start z collapses before the decoder has learned to listen."""
    decoded_share: float = Field(1.0, gt=0, le=1)
    """Of the anatomy, drawn anew at each step, that is decoded and compared; decoding takes most
    of the time."""
    vae: VAEConfig = VAEConfig()
    """Form of the networks of vae, ae and swae."""
    detail_steps: int = Field(1000, ge=0, le=MAX_STEPS)
    """In which it is learned, after all else, how the details of neighbouring cells go together, so
    that draws look like anatomy; 0 leaves it out, and draws are ragged."""
    augment: AugmentConfig = AugmentConfig()
    """Of the anatomies."""
    optim: OptimConfig = OptimConfig()
    """Of these networks."""
    intensity: IntensityConfig = IntensityConfig()
    """The intensity model that the prior carries."""


class PatchConfig(FrozenModel):
    """Which patches of synthetic scans an image reader learns from."""

    side: int = Field(48, ge=24, le=512)
    """In voxels of prior space; the next lower multiple of 8."""
    num_voxels: int = Field(10_000, gt=0, le=10**7)
    """Of a patch, at which the loss is taken."""
    aged_kept: float = Field(0.36, ge=0, le=1)
    """Of scans of aged anatomies, after `all_until`; those of young ones are always kept."""
    all_until: float = Field(0.5, ge=0, le=1)
    """Share of the training, in which the old are learned from as often as they were drawn."""


class EncoderConfig(RuntimeConfig):
    """How an image reader is learned from synthetic scans."""

    holdout: list[str] = []
    """Subjects (file names up to the suffix) kept out of training, with all sessions of the same
    people."""
    scans: int = Field(200, gt=0, le=10**6)
    """Synthetic scans that are made, read by the prior, and kept until the training is over: 35 MB
    and 7 s each for a brain at 2 mm."""
    augment: AugmentConfig = AugmentConfig()
    """Of the synthetic anatomies."""
    synthesis: SynthesisConfig = SynthesisConfig(
        contrasts={"tied": 1}, max_source_sd=0.12, views={"whole": 1, "rim": 1}
    )
    """Of the synthetic scans."""
    network: ReaderConfig = ReaderConfig()
    """Form of the image reader; that of `--start` where it is given."""
    patches: PatchConfig = PatchConfig()
    """Which it learns from."""
    optim: OptimConfig = OptimConfig(steps=3000, learning_rate=1.5e-3)
    """Of the image reader; one step takes a patch."""
    kept_share: dict[int, Share] = {}
    """Id -> share of what the image reader says of this label that is kept, once it has learned;
    less than 1 where label maps alone say more than other protocols would sign."""
    offset: OffsetConfig = OffsetConfig()
    """Of some labels, added to that when a scan is read."""
