"""On which grid the locator sees scans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seg_prior.core.grid import Grid

NUM_VOXELS = 400_000
"""Of the grid on which the median scan is seen: what a training step of a second can hold."""


def propose_spacing_mm(grids: Sequence[Grid], prior_grid: Grid) -> float:
    """The finest spacing at which the median scan has `NUM_VOXELS`, and none below the prior's."""
    mm3 = [np.prod(grid.shape) * grid.voxel_volume_mm3 for grid in grids]
    finest = float(np.cbrt(np.median(mm3) / NUM_VOXELS))
    return max(finest, float(prior_grid.spacing_mm.min()))
