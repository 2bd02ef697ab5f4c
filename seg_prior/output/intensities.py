"""Mean and deviation of a scan's intensities in each structure, of every contrast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from seg_prior.inference.prediction import Prediction
from seg_prior.io.tables import write_table
from seg_prior.output.sides import Written
from seg_prior.registration.resample import resample_observed

COLUMNS = ("index", "name", "contrast", "num_voxels", "mean", "sd")


def write_intensities(written: Written, path: Path) -> None:
    """Write a row for each structure and contrast, in the units of the contrast's file.

    Over the structure's voxels of the label map in which the contrast was observed; a contrast on
    another grid is averaged onto that of the scan.
    """
    write_table(path, COLUMNS, _rows(written))


def _rows(written: Written) -> Iterator[tuple[str, ...]]:
    result, label_map = written.result, written.label_map
    contrasts = (result.volume, *result.contrasts)
    for channel, contrast in enumerate(contrasts):
        is_observed = result.registered.native_observed[channel].numpy()
        values = _on_grid_of_scan(result, channel)
        for label in written.label_table.labels[1:]:
            inside = values[(label_map == label.id) & is_observed].astype(np.float64)
            found = (f"{inside.mean():.6g}", f"{inside.std():.6g}") if inside.size else ("n/a",) * 2
            name = Path(contrast.source).name
            yield str(label.id), label.name, name, str(inside.size), *found


def _on_grid_of_scan(result: Prediction, channel: int) -> NDArray[np.float32]:
    contrast = (result.volume, *result.contrasts)[channel]
    data = np.asarray(contrast.data, dtype=np.float32)
    if contrast.grid.same_as(result.volume.grid):
        return data
    image = torch.from_numpy(data)
    found, _ = resample_observed(image, torch.ones_like(image), contrast.grid, result.volume.grid)
    return np.asarray(found)
