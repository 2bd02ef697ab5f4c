"""What a reading says of one label."""

from __future__ import annotations

from typing import NamedTuple

NUM_DRAWS = 4
"""Of z, for the spread of volumes."""


class LabelVolume(NamedTuple):
    """How big one label of a scan is.

    Attributes:
        id, name: Of the label table; a sum of labels has no id.
        hard_mm3: Of the voxels whose most probable label it is.
        soft_mm3: Its posterior probability, summed over voxels.
        low_mm3, high_mm3: 90 % credible interval; None where the model has no calibration.
        touches_edge: Whether it reaches an outer face of the image, so that a part may be missing.
    """

    id: int | None
    name: str
    hard_mm3: float
    soft_mm3: float
    low_mm3: float | None
    high_mm3: float | None
    touches_edge: bool
