"""What a data set is made of: grids, intensities and labels of its files, in numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.grid import Affine, Grid, apply_affine
from seg_prior.core.labels import LabelTable
from seg_prior.errors import LabelsError, SegPriorError
from seg_prior.io.label_tables import label_table_from_ids, read_label_table
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.registration import groupwise
from seg_prior.registration.groupwise import Landmarks
from seg_prior.registration.intensity import normalise, observed
from seg_prior.registration.laterality import Sides, find_sides

Floats = NDArray[np.float64]

_STRIPPED_BORDER = 0.03  # of the outer faces may be observed around a stripped organ
_MAX_MAPS_MIRRORED = 12  # sides are looked for in so many maps


@dataclass(frozen=True, eq=False)
class ImagePrint:
    """One image.

    Attributes:
        path: Of the file.
        grid: Its lattice.
        range: Lowest and highest intensity.
        is_stripped: Whether nothing was measured around the organ.
        problem: Why it cannot be used, in one line; empty if it can.
    """

    path: Path
    grid: Grid | None
    range: tuple[float, float]
    is_stripped: bool
    problem: str


@dataclass(frozen=True, eq=False)
class MapPrint:
    """One label map.

    Attributes:
        path: Of the file.
        grid: Its lattice.
        landmarks: Centroids and volumes of its labels.
        box_mm: (3,) sides of the anatomy's box along the world's axes.
        cut_share: Of the anatomy's section with the outer face of the grid that cuts it most, the
            size beside its largest section parallel to that face.
        warnings: Of the file, one line each.
        prior_from_native: To the common frame of all maps.
        residual_mm: Of its centroids in that frame.
    """

    path: Path
    grid: Grid
    landmarks: Landmarks
    box_mm: Floats
    cut_share: float
    prior_from_native: Affine
    residual_mm: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """A data set.

    Attributes:
        images, maps: What could be read.
        unread: A line for each label map that could not.
        table: Labels, with the partners that the geometry shows where the table was not given.
        sides: What the geometry shows.
    """

    images: tuple[ImagePrint, ...]
    maps: tuple[MapPrint, ...]
    unread: tuple[str, ...]
    table: LabelTable
    sides: Sides


def image_print(path: Path) -> ImagePrint:
    """Read one image; what is wrong with it becomes its `problem`."""
    try:
        volume = read_volume(path)
        in_view = observed(volume.data)
        normalise(volume.data, in_view, volume.source)
    except SegPriorError as error:
        return ImagePrint(path, None, (math.nan, math.nan), False, str(error))
    faces = [np.moveaxis(in_view, axis, 0)[end].ravel() for axis in range(3) for end in (0, -1)]
    is_stripped = bool(np.concatenate(faces).mean() < _STRIPPED_BORDER)
    span = float(volume.data.min()), float(volume.data.max())
    return ImagePrint(path, volume.grid, span, is_stripped, "")


def read_fingerprint(
    images: Sequence[Path], labels: Sequence[Path], label_table: Path | None
) -> Fingerprint:
    """Read every file of a data set once.

    Raises:
        LabelsError: No label map could be used, or the table does not fit.
    """
    volumes, unread = [], []
    for path in labels:
        try:
            volumes.append((path, read_label_map(path)))
        except SegPriorError as error:
            unread.append(str(error))
    if label_table is None:
        table = label_table_from_ids(int(i) for _, v in volumes for i in np.unique(v.data))
    else:
        table = read_label_table(label_table)
    found: list[tuple[Path, Grid, NDArray[np.uint8]]] = []
    for path, volume in volumes:
        try:
            indices = table.remap(volume.data, volume.source)
        except LabelsError as error:
            unread.append(str(error))
            continue
        if table.is_structure[indices].any():
            found.append((path, volume.grid, indices))
        else:
            unread.append(f"{path}: found background only, need a label map.")
    if not found:
        raise LabelsError(unread[0] if unread else "labels: found no label map, need some.")
    marks = [
        groupwise.find_landmarks(indices, grid.affine, table.is_structure)
        for _, grid, indices in found
    ]
    some = slice(None, None, 1 + len(found) // _MAX_MAPS_MIRRORED)
    sides = find_sides(
        [indices for _, _, indices in found[some]],
        [grid.affine for _, grid, _ in found[some]],
        marks[some],
        table.is_structure,
    )
    if label_table is None:
        table = with_sides(table, sides)
    frame = groupwise.fit_group(marks, table.partner)
    warnings_of = {path: volume.warnings for path, volume in volumes}
    maps = [
        _map_print(*file, landmarks, move, residual_mm, table, warnings_of[file[0]])
        for file, landmarks, move, residual_mm in zip(
            found, marks, frame.prior_from_native, frame.residual_mm, strict=True
        )
    ]
    prints = tuple(image_print(path) for path in images)
    return Fingerprint(prints, tuple(maps), tuple(unread), table, sides)


def with_sides(table: LabelTable, sides: Sides) -> LabelTable:
    """The table with partners, which share an intensity class."""
    labels = []
    for index, label in enumerate(table.labels):
        other = table.labels[int(sides.partner[index])]
        first = min(label, other, key=lambda one: one.id)
        update = {"partner_id": other.id, "intensity_class": first.intensity_class}
        labels.append(label.model_copy(update=update))
    return LabelTable(labels=tuple(labels))


def _map_print(
    path: Path,
    grid: Grid,
    indices: NDArray[np.uint8],
    landmarks: Landmarks,
    move: Affine,
    residual_mm: float,
    table: LabelTable,
    warnings: tuple[str, ...],
) -> MapPrint:
    is_anatomy = table.is_structure[indices]
    places = apply_affine(grid.affine, np.argwhere(is_anatomy))
    sections = [is_anatomy.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
    cut_share = max(float(max(s[0], s[-1]) / s.max()) for s in sections)
    box_mm = places.max(axis=0) - places.min(axis=0) + grid.spacing_mm.min()
    return MapPrint(path, grid, landmarks, box_mm, cut_share, move, residual_mm, warnings)
