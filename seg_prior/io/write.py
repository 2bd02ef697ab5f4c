"""Arrays to image files of every format that is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.labels import LabelTable
from seg_prior.core.volume import Volume
from seg_prior.files import atomic_write
from seg_prior.io.formats import format_of


def write_volume(
    path: Path, data: NDArray[Any], like: Volume, table: LabelTable | None = None
) -> None:
    """Write an array on the grid of `like`; NIfTI with its sform/qform codes and units.

    The file appears whole or not at all.

    Args:
        path: Ends in one of `formats.WRITTEN`; missing folders are made.
        data: Same shape as `like`; integer arrays are stored in the smallest unsigned type.
        like: The volume whose space the array lives in; for DICOM SEG, a series.
        table: Names the ids of a label map, where a format has names.
    """
    assert data.shape == like.grid.shape, (data.shape, like.grid.shape)
    write = format_of(path).write
    assert write is not None, path
    if np.issubdtype(data.dtype, np.integer) or data.dtype == bool:
        data = data.astype(np.min_scalar_type(int(data.max(initial=0))))
    else:
        data = data.astype(np.float32)
    with atomic_write(path) as temporary:
        write(temporary, data, like, table)
