"""The page of a prior: walks through its anatomies, with sliders, and volumes as they change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_prior import __version__
from seg_prior.core.grid import Grid
from seg_prior.core.labels import LabelTable
from seg_prior.report.page import vendored, write_page
from seg_prior.report.viewer import encode, labels_of, thinned

_MARGIN_VOXELS = 2
MAX_BYTES = 12_000_000
"""Of all series as text: a page must stay under 15 MB, of which the viewer takes 2.3."""


class Nearest(NamedTuple):
    """The label map nearest to an anatomy, and how far it is in deviations of p(z)."""

    name: str
    distance: float


@dataclass(frozen=True, eq=False)
class ShownWalk:
    """The anatomies along a line of the latent space.

    Attributes:
        name, title: Of its files, and for people.
        positions: (F,) of its frames; the walk begins at the one that is nearest to 0.
        unit: Of positions.
        label_maps: (D, H, W, F) uint8 label indices.
        volumes_mm3: (F, L) of every label.
        nearest: (F,) of label maps; empty where there are none.
    """

    name: str
    title: str
    positions: tuple[float, ...]
    unit: str
    label_maps: NDArray[np.uint8]
    volumes_mm3: NDArray[np.float64]
    nearest: tuple[Nearest, ...]


def write_explore_page(
    path: Path, model: str, walks: Sequence[ShownWalk], table: LabelTable, grid: Grid
) -> None:
    """Write one HTML file that holds all it shows.

    Args:
        path: Ends in .html; missing folders are made; the file appears whole or not at all.
        model: Name of the checkpoint.
        walks: At least one.
        table: Of the labels.
        grid: Of the label maps.
    """
    labels = labels_of(table)
    write_page(
        path,
        "explore.html",
        model=model,
        version=__version__,
        walks=walks,
        labels=labels,
        data={"walks": _fitting(walks, grid), "labels": labels},
        niivue=vendored("niivue.umd.js"),
        niivue_license=vendored("LICENSE.txt"),
    )


def _fitting(walks: Sequence[ShownWalk], grid: Grid) -> list[dict[str, Any]]:
    """The walks as a page holds them, of every second voxel and so on where all is too much."""
    start, stop = _box(walks)
    for step in range(1, min(stop - start)):
        part = tuple(slice(a, b, step) for a, b in zip(start, stop, strict=True))
        shown = thinned(grid, start, stop, np.full(3, step))
        found = [_data_of(walk, part, shown) for walk in walks]
        if sum(len(walk["series"]) for walk in found) <= MAX_BYTES:
            break
    return found


def _data_of(walk: ShownWalk, part: tuple[slice, ...], grid: Grid) -> dict[str, Any]:
    return {
        "series": encode(np.ascontiguousarray(walk.label_maps[part]), grid),
        "positions": walk.positions,
        "unit": walk.unit,
        "first": int(np.argmin(np.abs(walk.positions))),
        "volumes_mm3": np.round(walk.volumes_mm3, 1).tolist(),
        "nearest": [near._asdict() for near in walk.nearest],
    }


def _box(walks: Sequence[ShownWalk]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Voxels from start to stop that hold all anatomies, and a margin; all where there is none."""
    marked = np.any([(walk.label_maps > 0).any(axis=3) for walk in walks], axis=0)
    shape = np.array(marked.shape)
    if not marked.any():
        return np.zeros(3, dtype=int), shape
    place = np.argwhere(marked)
    start = np.maximum(place.min(0) - _MARGIN_VOXELS, 0)
    return start, np.minimum(place.max(0) + 1 + _MARGIN_VOXELS, shape)
