"""How a scan is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from seg_prior.config.base import FrozenModel
from seg_prior.config.runtime import RuntimeConfig

BRAIN_MODEL = Path(__file__).parents[1] / "weights" / "brain.safetensors"


# YAML takes a bare 0 for a number.
Refine = Annotated[Literal["0", "fast", "full"], BeforeValidator(lambda v: "0" if v == 0 else v)]


class InferenceConfig(FrozenModel):
    """How z is refined on one image."""

    likelihood: Literal["exact", "jensen"] = "exact"
    """exact mixture, or the jensen bound of 2018."""
    refine_rate: float = Field(0.1, gt=0, le=100)
    """Of the Adam steps on z."""
    image_weight: float = Field(0.05, gt=0, le=1000)
    """Of log p(x | z) beside log p(z) in those steps. Neighbouring voxels share their errors, so a
    scan holds fewer independent observations than voxels; 1 takes each voxel at its word."""


class ReadingConfig(RuntimeConfig):
    """How a scan is read: all that a label map depends on beside the scan."""

    model: Path = BRAIN_MODEL
    """Checkpoint of any kind; the human brain model of the package if none is named."""
    output: Literal["posterior", "prior"] = "posterior"
    """posterior (intensities and prior), or prior (the smooth outline of the prior alone)."""
    n4: bool = False
    """Correct the bias field before anything else."""
    volume: int | None = Field(None, ge=0, lt=2**31)
    """Which volume of a 4-D series to take, from 0."""
    refine: Refine | None = None
    """How long to look: 0, fast or full; what the model is best with if nobody says."""
    inference: InferenceConfig = InferenceConfig()
    """How z is refined."""
