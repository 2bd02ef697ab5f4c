"""How big each label of a label map is, and how far that is from the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.labels import BACKGROUND


def num_voxels_by_id(label_map: NDArray[np.integer[Any]]) -> dict[int, int]:
    """Voxel count of every id that occurs, background left out.

    Args:
        label_map: Ids, any shape; ids may be large, no memory depends on them.

    >>> num_voxels_by_id(np.array([[0, 2], [2, 17]]))
    {2: 2, 17: 1}
    """
    ids, counts = np.unique(label_map, return_counts=True)
    found = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    found.pop(BACKGROUND, None)
    return found


def volume_mm3_by_id(
    label_map: NDArray[np.integer[Any]], voxel_volume_mm3: float
) -> dict[int, float]:
    """Volume in mm^3 of every id that occurs, background left out.

    Args:
        label_map: (I, J, K), ids.
        voxel_volume_mm3: `Grid.voxel_volume_mm3` of the map's grid.

    >>> volume_mm3_by_id(np.array([[[0, 2], [2, 17]]]), voxel_volume_mm3=0.5)
    {2: 1.0, 17: 0.5}
    """
    return {id_: n * voxel_volume_mm3 for id_, n in num_voxels_by_id(label_map).items()}


def volume_error_mm3_by_id(
    pred_mm3: Mapping[int, float], ref_mm3: Mapping[int, float]
) -> dict[int, float]:
    """Predicted minus reference volume in mm^3 of every id the reference has.

    An id the prediction misses has the error -reference; an id the reference lacks has none.

    >>> volume_error_mm3_by_id(pred_mm3={2: 10.0, 5: 1.0}, ref_mm3={2: 12.0, 17: 4.0})
    {2: -2.0, 17: -4.0}
    """
    return {id_: pred_mm3.get(id_, 0.0) - volume for id_, volume in ref_mm3.items()}
