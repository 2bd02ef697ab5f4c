"""How big the labels of a scan are, with intervals where the model has measured its errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_prior.checkpoints.calibration import Calibration
from seg_prior.core.freesurfer import intracranial_ids
from seg_prior.core.labels import LabelTable
from seg_prior.inference.uncertainty import credible_interval


class LabelVolume(NamedTuple):
    """How big one label of a scan is.

    Attributes:
        id, name: Of the label table; a sum of labels has no id.
        hard_mm3: Of the voxels whose most probable label it is.
        soft_mm3: Its posterior probability, summed over voxels.
        calibrated_mm3: The same without the bias that the label had on synthetic scans; None where
            the model has no calibration.
        low_mm3, high_mm3: 90 % credible interval; None where the model has no calibration.
        touches_edge: Whether it reaches an outer face of the image, so that a part may be missing.
    """

    id: int | None
    name: str
    hard_mm3: float
    soft_mm3: float
    calibrated_mm3: float | None
    low_mm3: float | None
    high_mm3: float | None
    touches_edge: bool

    @property
    def sizes_mm3(self) -> tuple[float | None, ...]:
        """As tables have them: counted, posterior, the interval's ends, calibrated."""
        ends = self.low_mm3, self.high_mm3
        return self.hard_mm3, self.soft_mm3, *ends, self.calibrated_mm3


def label_volumes(
    table: LabelTable,
    best: NDArray[np.integer[Any]],
    soft_mm3: Sequence[float],
    voxel_mm3: float,
    at_edge: set[int],
    calibration: Calibration | None,
    log_spread: NDArray[np.float64] | None,
) -> tuple[LabelVolume, ...]:
    """One record for each label but background.

    Args:
        table: The G labels.
        best: (N,) index of the likeliest label of each voxel.
        soft_mm3: (G,) posterior volumes.
        voxel_mm3: Of one voxel.
        at_edge: Indices of the labels that reach an outer face of the image.
        calibration: What the model has measured of its errors, if it has.
        log_spread: (G,) deviation of log volume over draws of z; None without a calibration.
    """
    counts = np.bincount(best, minlength=len(table))
    errors = {} if calibration is None else calibration.volume_error
    found = []
    for index, label in enumerate(table.labels):
        error, soft = errors.get(label.name), soft_mm3[index]
        low, high, calibrated = None, None, None
        if error is not None:
            assert calibration is not None
            assert log_spread is not None
            spread = float(log_spread[index])
            low, high = credible_interval(soft, spread, error, calibration.quantile)
            calibrated = soft * math.exp(error.bias)
        hard = int(counts[index]) * voxel_mm3
        if index > 0:
            found.append(
                LabelVolume(
                    label.id, label.name, hard, soft, calibrated, low, high, index in at_edge
                )
            )
    return tuple(found)


def intracranial_volume(table: LabelTable, volumes: Sequence[LabelVolume]) -> LabelVolume | None:
    """The labels inside the skull together; None where the labels do not define it."""
    ids = intracranial_ids(table)
    inside = [volume for volume in volumes if volume.id in ids]
    if not inside:
        return None
    return LabelVolume(
        id=None,
        name="Intracranial-Volume",
        hard_mm3=sum(volume.hard_mm3 for volume in inside),
        soft_mm3=sum(volume.soft_mm3 for volume in inside),
        calibrated_mm3=None,  # not every label inside is calibrated
        low_mm3=None,  # the ends of intervals do not add up
        high_mm3=None,
        touches_edge=any(volume.touches_edge for volume in inside),
    )
