"""How a scan is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from seg_prior.config.base import EXPERT, FrozenModel
from seg_prior.config.runtime import RuntimeConfig

BRAIN_MODEL = Path(__file__).parents[1] / "weights" / "brain.safetensors"


# YAML takes a bare 0 for a number.
Refine = Annotated[Literal["0", "fast", "full"], BeforeValidator(lambda v: "0" if v == 0 else v)]


class InferenceConfig(FrozenModel):
    """How z is refined on one image."""

    likelihood: Literal["exact", "jensen"] = "exact"
    """Take the exact mixture, or the jensen bound of 2018."""
    refine_rate: float = Field(0.1, gt=0, le=100)
    """Set the learning rate of the Adam steps on z."""
    # Neighbouring voxels share their errors, so a scan holds fewer independent observations.
    image_weight: float = Field(0.05, gt=0, le=1000)
    """Weigh log p(x | z) so beside log p(z) in those steps; 1 takes each voxel at its word."""


class ReadingConfig(RuntimeConfig):
    """How a scan is read: all that a label map depends on beside the scan."""

    model: Path = BRAIN_MODEL
    """Read with this checkpoint, of any kind; the package's model of the human brain if none."""
    frame: int | None = Field(None, ge=0, lt=2**31)
    """Take this volume of a 4-D series, counted from 0."""
    output: Annotated[Literal["posterior", "prior"], EXPERT] = "posterior"
    """Write the posterior of intensities and prior, or the smooth outline of the prior alone."""
    refine: Annotated[Refine | None, EXPERT] = None
    """Refine z so long; as the model is best with if nobody says."""
    inference: InferenceConfig = InferenceConfig()
    """How z is refined."""

    @property
    def reading(self) -> ReadingConfig:
        """These settings alone, of a config that has more: what a loaded model depends on."""
        return ReadingConfig(**{name: getattr(self, name) for name in ReadingConfig.model_fields})
