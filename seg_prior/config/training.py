"""How priors and encoders are learned, whatever the files."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from seg_prior.config.intensity import IntensityConfig
from seg_prior.config.networks import VAEConfig
from seg_prior.config.optim import MAX_STEPS, OptimConfig
from seg_prior.config.runtime import RuntimeConfig
from seg_prior.config.synthesis import AugmentConfig, SynthesisConfig


class PriorConfig(RuntimeConfig):
    """How a prior is learned from label maps."""

    kind: Literal["vae", "pca", "atlas"] = "vae"
    """vae, pca (linear latent) or atlas (no latent)."""
    spacing_mm: float | None = Field(None, gt=0, le=1000)
    """Of prior space; None takes a 104th of the anatomy's longest side."""
    margin_mm: float = Field(6.0, ge=0, le=1000)
    """Of prior space around the anatomy."""
    pose: Literal["any", "as_maps"] = "any"
    """as_maps if scans have the label maps' field of view, such as crops around an organ: where it
    lies in the image is then learned from them. any makes no such claim."""
    holdout: list[str] = []
    """Subjects (file names up to the suffix) kept out of training, with all sessions of the same
    people, to measure reconstruction on."""
    num_components: int = Field(19, ge=0, le=1000)
    """Of kind pca; at most one less than there are maps and mirror images."""
    kl_warmup_steps: int = Field(200, ge=0, le=MAX_STEPS)
    """The KL term is ramped up (quadratically) over so many steps: with the full term from the
    start, q collapses onto N(0, I) before the decoder has learned to listen."""
    decoded_share: float = Field(1.0, gt=0, le=1)
    """Of the anatomy, drawn anew at each step, that is decoded and compared; decoding takes most
    of the time."""
    vae: VAEConfig = VAEConfig()
    """Shape of the label VAE."""
    augment: AugmentConfig = AugmentConfig()
    """Of the anatomies."""
    optim: OptimConfig = OptimConfig()
    """Of the label VAE."""
    intensity: IntensityConfig = IntensityConfig()
    """The intensity model that the prior carries."""


class EncoderConfig(RuntimeConfig):
    """How an image encoder is learned from synthetic and unlabelled scans."""

    n4: bool = False
    """Correct the bias field of the scans first."""
    likelihood: Literal["exact", "jensen"] = "exact"
    """exact mixture, or the jensen bound of 2018."""
    augment: AugmentConfig = AugmentConfig()
    """Of the synthetic anatomies."""
    synthesis: SynthesisConfig = SynthesisConfig(
        contrasts={"tied": 1}, max_source_sd=0.12, views={"whole": 1, "rim": 1}
    )
    """Of the synthetic scans."""
    pretrain: OptimConfig = OptimConfig(steps=1500)
    """On synthetic scans."""
    adapt: OptimConfig = OptimConfig(steps=300, learning_rate=1e-4)
    """On real scans."""
