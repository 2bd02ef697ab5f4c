"""What the page's interactive viewer needs: the scan, its labels and its entropy, small."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.grid import Grid, apply_affine
from seg_prior.core.label_colours import label_colours
from seg_prior.core.labels import LabelTable
from seg_prior.io.formats.nifti import encode_nifti
from seg_prior.report.overlay import ENTROPY_MAX_NATS, window
from seg_prior.report.scan import ScanReport

MAX_VOXELS = 7_000_000
"""More are thinned out: a page is for looking, and must stay under 15 MB."""
ENTROPY_LEVELS = 32
_MARGIN_MM = 8.0


class ViewerData(NamedTuple):
    """Volumes in base64, and the labels' names and colours.

    Attributes:
        image, label_map, entropy: Gzipped NIfTI of bytes. The image is scaled to its window, labels
            are indices, entropy is in steps of ENTROPY_MAX_NATS / ENTROPY_LEVELS.
        labels: One for each index: id, name, colour (red, green, blue of 0..255), and a place in
            it in mm, None where it is nowhere.
        step: Of the scan's voxels along each axis, one of so many is shown.
        entropy_step_nats: Entropy of one step.
    """

    image: str
    label_map: str
    entropy: str
    labels: list[dict[str, Any]]
    step: tuple[int, int, int]
    entropy_step_nats: float


def viewer_data(report: ScanReport) -> ViewerData:
    """Crop to the anatomy, thin out where the scan is huge, and encode."""
    start, stop = _box(report)
    step = _step(stop - start, report.grid.spacing_mm)
    part = tuple(slice(a, b, s) for a, b, s in zip(start, stop, step, strict=True))
    grid = thinned(report.grid, start, stop, step)
    low, high = window(report.image)
    image = np.clip((report.image[part].astype(np.float32) - low) / (high - low), 0, 1)
    entropy = np.clip(report.entropy[part] / ENTROPY_MAX_NATS, 0, 1) * ENTROPY_LEVELS
    labels = [
        label | {"place_mm": _place_mm(report, index)}
        for index, label in enumerate(labels_of(report.table))
    ]
    return ViewerData(
        encode(255 * image, grid),
        encode(report.label_map[part], grid),
        encode(entropy, grid),
        labels,
        (int(step[0]), int(step[1]), int(step[2])),
        ENTROPY_MAX_NATS / ENTROPY_LEVELS,
    )


def _place_mm(report: ScanReport, index: int) -> list[float] | None:
    """World position of the voxel of a label that lies nearest to the middle of its voxels."""
    voxels = np.argwhere(report.label_map == index)
    if index == 0 or not len(voxels):
        return None
    away = (voxels - voxels.mean(0)) * report.grid.spacing_mm
    nearest = voxels[np.square(away).sum(1).argmin()]
    return [round(float(x), 2) for x in apply_affine(report.grid.affine, nearest[None])[0]]


def _box(report: ScanReport) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Voxels from start to stop that hold all labels, and a margin; all where there is none."""
    shape = np.array(report.grid.shape)
    marked = report.label_map > 0
    start, stop = np.zeros(3, dtype=int), shape.copy()
    for axis in range(3):
        found = np.flatnonzero(marked.any(axis=tuple(a for a in range(3) if a != axis)))
        if found.size:
            margin = int(np.ceil(_MARGIN_MM / report.grid.spacing_mm[axis]))
            start[axis] = max(found[0] - margin, 0)
            stop[axis] = min(found[-1] + margin + 1, shape[axis])
    return start, stop


def _step(size: NDArray[np.int_], spacing_mm: NDArray[np.float64]) -> NDArray[np.int_]:
    """Steps along the axes, the finest coarsened first, that leave at most MAX_VOXELS."""
    step = np.ones(3, dtype=int)
    while np.prod(-(-size // step)) > MAX_VOXELS:
        step[int(np.argmin(step * spacing_mm))] += 1
    return step


def labels_of(table: LabelTable) -> list[dict[str, Any]]:
    """Id, name and colour, red, green and blue of 0..255, of each index."""
    colours = np.rint(255 * label_colours(table)).astype(int).tolist()
    named = zip(table.labels, colours, strict=True)
    return [{"id": label.id, "name": label.name, "colour": colour} for label, colour in named]


def thinned(
    grid: Grid, start: NDArray[np.int_], stop: NDArray[np.int_], step: NDArray[np.int_]
) -> Grid:
    """Of the voxels from start to stop, one of so many along each axis."""
    affine = grid.crop(start, stop).affine @ np.diag([*step.astype(float), 1.0])
    i, j, k = (int(n) for n in -(-(stop - start) // step))
    return Grid((i, j, k), affine)


def encode(values: NDArray[Any], grid: Grid) -> str:
    """Values of 0..255 as the text that a page holds."""
    rounded = np.rint(values).astype(np.uint8)
    return base64.b64encode(encode_nifti(rounded, grid)).decode("ascii")
