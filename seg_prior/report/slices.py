"""Three slices of a volume as a reader of scans expects them, whatever the order of its axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.grid import Grid
from seg_prior.core.labels import BACKGROUND

_MARGIN = 0.04  # of the anatomy, beyond it on each side


class Plane(NamedTuple):
    """A direction of slicing.

    Attributes:
        horizontal, vertical: Axes of the picture: 0 right, 1 anterior, 2 superior.
        left, right, top: Letters of the body's sides at the edges of the picture.
    """

    horizontal: int
    vertical: int
    left: str
    right: str
    top: str


AXIAL = Plane(0, 1, left="L", right="R", top="A")
CORONAL = Plane(0, 2, left="L", right="R", top="S")
SAGITTAL = Plane(1, 2, left="P", right="A", top="S")
PLANES = (AXIAL, CORONAL, SAGITTAL)


@dataclass(frozen=True, eq=False)
class View:
    """Which slices of a grid are shown, and how much of them.

    Attributes:
        center: (3,) index of the sagittal, coronal and axial slice, along the axes of `to_ras`.
        start, stop: (3,) the box of voxels that is drawn.
        extent_mm: (3,) its edges.
    """

    center: NDArray[np.int_]
    start: NDArray[np.int_]
    stop: NDArray[np.int_]
    extent_mm: NDArray[np.float64]


def to_ras(data: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """The array with its axes permuted and flipped to run nearest to right, anterior, superior."""
    order, is_flipped = _ras_axes(grid)
    backwards = tuple(slice(None, None, -1 if flipped else 1) for flipped in is_flipped)
    return np.asarray(np.transpose(data, order)[backwards])


def find_view(
    label_maps: Sequence[NDArray[np.integer[Any]]], grid: Grid, partner: NDArray[np.int64]
) -> View:
    """The slices through the middle of what some label maps on one grid mark.

    Of the slices in the middle third of the anatomy the one that shows most structures, left and
    right counted once; of those the one nearest the middle. The whole grid and its middle where
    nothing is marked.

    Args:
        label_maps: (I, J, K) label indices; none or more.
        grid: The maps' grid, of any orientation.
        partner: (L,) index of the label on the other side.
    """
    order, _ = _ras_axes(grid)
    spacing_mm = grid.spacing_mm[order]
    shape = np.array(grid.shape)[order]
    # Sides share an index, so that the midline does not count everything twice.
    merged = np.minimum(partner, np.arange(partner.size))
    turned = [merged[to_ras(label_map, grid)] for label_map in label_maps]
    start, stop, center = np.zeros(3, dtype=int), shape.copy(), shape // 2
    for axis in range(3):
        counts = [_counts(labels, axis, partner.size) for labels in turned]
        marked = np.flatnonzero(sum((c.sum(axis=1) for c in counts), np.zeros(shape[axis])))
        if marked.size:
            first, last = int(marked[0]), int(marked[-1])
            margin = round(_MARGIN * (last - first + 1))
            start[axis], stop[axis] = max(first - margin, 0), min(last + margin + 1, shape[axis])
            center[axis] = _fullest_slice(counts, first, last)
    return View(center, start, stop, spacing_mm * (stop - start))


def cut(data: NDArray[Any], grid: Grid, view: View, plane: Plane) -> NDArray[Any]:
    """(horizontal, vertical) the view's slice in one plane, from left to right and upwards."""
    normal = 3 - plane.horizontal - plane.vertical
    turned = np.take(to_ras(data, grid), int(view.center[normal]), axis=normal)
    box = [slice(view.start[a], view.stop[a]) for a in (plane.horizontal, plane.vertical)]
    return np.asarray(turned[tuple(box)])


def magnify_nearest(pixels: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """A slice sampled to another number of pixels, each a copy of the nearest."""
    rows, columns = (
        np.clip(np.rint(_positions(size, n)).astype(int), 0, size - 1)
        for size, n in zip(pixels.shape, shape, strict=True)
    )
    return np.asarray(pixels[np.ix_(rows, columns)])


def magnify_linear(pixels: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float64]:
    """A slice sampled to another number of pixels, interpolated between the nearest four."""
    rows, columns = (
        # Row p holds the weights of the samples at pixel p.
        np.maximum(0, 1 - np.abs(np.clip(_positions(size, n), 0, size - 1)[:, None] - range(size)))
        for size, n in zip(pixels.shape, shape, strict=True)
    )
    return np.asarray(rows @ pixels @ columns.T)


def borders(labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Pixels one of whose four neighbours has another label."""
    is_border = np.zeros(labels.shape, dtype=bool)
    differs = labels[1:] != labels[:-1]
    is_border[1:] |= differs
    is_border[:-1] |= differs
    differs = labels[:, 1:] != labels[:, :-1]
    is_border[:, 1:] |= differs
    is_border[:, :-1] |= differs
    return is_border


def _ras_axes(grid: Grid) -> tuple[NDArray[np.int_], NDArray[np.bool_]]:
    """For each world axis the array axis nearest to it, and whether that one runs against it."""
    order = grid.nearest_axes
    return order, grid.affine[np.arange(3), order] < 0


def _counts(labels: NDArray[np.int64], axis: int, num_labels: int) -> NDArray[np.int_]:
    """(slices, L) voxels of each label in each slice; none for background."""
    slices = np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1)
    counts = np.stack([np.bincount(pixels, minlength=num_labels) for pixels in slices])
    counts[:, BACKGROUND] = 0
    return counts


def _fullest_slice(counts: Sequence[NDArray[np.int_]], first: int, last: int) -> int:
    """The slice of the middle third with most structures; of those, the one nearest the middle."""
    middle = (first + last) / 2
    reach = max((last - first) / 6, 0.5)
    candidates = [index for index in range(first, last + 1) if abs(index - middle) <= reach]
    # A structure counts where the slice shows a fair part of it, not where it only grazes it.
    is_shown = [count >= np.maximum(0.4 * count.max(axis=0), 1) for count in counts]
    num_shown = np.sum(is_shown, axis=(0, 2))
    return min(candidates, key=lambda index: (-int(num_shown[index]), abs(index - middle), index))


def _positions(size: int, num_pixels: int) -> NDArray[np.float64]:
    """Where the centres of the pixels lie among the samples."""
    return np.asarray((np.arange(num_pixels) + 0.5) * (size / num_pixels) - 0.5)
