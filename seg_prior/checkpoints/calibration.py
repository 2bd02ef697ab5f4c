"""How sure a reading is: volumes with credible intervals, probabilities as good as their word."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

Log = Annotated[float, Field(ge=-1000, le=1000)]
"""What an exponential can take."""
Deviations = Annotated[float, Field(gt=0, le=1e6)]


class VolumeError(NamedTuple):
    """How true volumes of one label lie about posterior volumes.

    Attributes:
        bias: Mean of log(true / posterior volume).
        sd: Of that, beyond what draws of z explain: the error of the model itself.
    """

    bias: Log
    sd: Annotated[float, Field(ge=0, le=1000)]


class Spread(BaseModel):
    """Mean and standard deviation of a figure over synthetic scans."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mean: Log
    sd: float = Field(gt=0, le=1000)

    def z(self, value: float) -> float:
        """How many deviations above the mean."""
        return (value - self.mean) / self.sd


class Calibration(BaseModel):
    """What new results are judged by.

    Attributes:
        num_scans: Synthetic scans that it was measured on.
        quantile: Half width of a 90 % interval, in deviations: Student's t of that many scans.
        warn_z, fail_z: Deviations beyond which a measure is doubtful or wrong; of one new scan,
            with what so few scans leave open included.
        temperature: The log odds of the best label are divided by it.
        volume_error: By label name.
        log_volume: By label name: log posterior volume in mm^3.
        measures: By name: log of a measure of quality.
        check: How well it held on scans of maps that it was not fitted to, half by half: share of
            true volumes inside their 90 % interval, calibration error before and after.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    num_scans: int = Field(gt=0, le=100_000)
    quantile: Deviations
    warn_z: Deviations
    fail_z: Deviations
    temperature: float = Field(gt=0, le=1000)
    volume_error: dict[str, VolumeError]
    log_volume: dict[str, Spread]
    measures: dict[str, Spread]
    check: dict[str, Annotated[float, Field(ge=0, le=1e9)]]
