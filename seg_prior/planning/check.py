"""What is odd about label maps and scans, and the files that propose settings."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml

from seg_prior.core.figures import told_apart
from seg_prior.core.grid import Grid
from seg_prior.core.sides import left_right_pairs
from seg_prior.core.volume import gathered
from seg_prior.files import write_text
from seg_prior.io.find import participant_of
from seg_prior.planning.fingerprint import Fingerprint
from seg_prior.registration.laterality import (
    MIRRORED,
    is_mirrored,
    partners_on_one_side,
    unlike_the_others,
)

MIN_PEOPLE = 3
_MIN_THICK_RATIO = 4  # of the in-plane side to the stack of slices, with cubic voxels
_MAX_CUT_SHARE = 0.1
_MAX_VOLUME_RATIO = 3.0
_MAX_SPREADS = 6.0  # of robust standard deviations


def write_proposal(path: Path, table: Path, proposal: dict[str, object]) -> None:
    """A YAML file for `train-prior`, with the label table as seen from its folder."""
    settings = {"label_table": os.path.relpath(table, path.parent)} | proposal
    said = "# Proposed by seg-prior check: what differs from the defaults of train-prior.\n"
    write_text(path, said + yaml.safe_dump(settings, sort_keys=False))


def facts_of(print_: Fingerprint) -> Iterator[str]:
    """What the data set is, one line each."""
    usable = [one for one in print_.images if one.grid is not None]
    paths = [one.path for one in usable] + [one.path for one in print_.maps]
    people = len({participant_of(path) for path in paths})
    yield f"{len(usable)} images and {len(print_.maps)} label maps of {people} subjects"
    if usable:
        yield f"images: {_spread_of([one.grid for one in usable if one.grid is not None])}"
    yield f"label maps: {_spread_of([one.grid for one in print_.maps])}"
    if usable:
        stripped = sum(one.is_stripped for one in usable)
        tops = [one.range[1] for one in usable]
        yield f"highest intensities: {min(tops):.4g} to {max(tops):.4g}; stripped: {stripped}"
    table = print_.table
    volumes = np.array([one.landmarks.volumes_mm3 for one in print_.maps])
    for index in np.flatnonzero(table.is_structure):
        present = volumes[:, index] > 0
        label = table.labels[index]
        partner = "" if label.partner_id == label.id else f", partner {label.partner_id}"
        median = np.median(volumes[present, index]) if present.any() else 0.0
        name = "" if label.name == f"label-{label.id}" else f" {label.name}"
        yield f"label {label.id}{name}: in {present.sum()} maps, {median:.4g} mm^3{partner}"
    yield f"the mirror image agrees with {print_.sides.agreement:.0%} of the anatomy"


def _spread_of(grids: Sequence[Grid]) -> str:
    shapes, spacings = (
        np.array([getattr(grid, name) for grid in grids]) for name in ("shape", "spacing_mm")
    )
    axes = Counter(orientation(grid) for grid in grids)
    return f"{_between(shapes)} voxels of {_between(spacings)} mm, axes " + ", ".join(
        f"{name} ({count})" for name, count in axes.most_common()
    )


def _between(rows: np.ndarray) -> str:
    pairs = zip(rows.min(axis=0), rows.max(axis=0), strict=True)
    told = ((f"{a:.3g}", f"{b:.3g}") for a, b in pairs)
    return " x ".join(a if a == b else f"{a}-{b}" for a, b in told)


def orientation(grid: Grid) -> str:
    """Where the voxel axes point, such as RAS."""
    letters = []
    for column in grid.affine[:3, :3].T:
        axis = int(np.abs(column).argmax())
        letters.append(("RAS" if column[axis] > 0 else "LPI")[axis])
    return "".join(letters)


def odd_grids(print_: Fingerprint) -> Iterator[str]:
    """Headers that cannot be right, and images cut unlike the others."""
    grids = [(one.path, one.grid) for one in print_.images if one.grid is not None]
    thin = [path for path, grid in grids if _is_too_thin(grid)]
    if thin:
        grid = dict(grids)[thin[0]]
        yield (
            f"{thin[0].name} and {len(thin) - 1} more: found cubic voxels of "
            f"{grid.spacing_mm[0]:.3g} mm but only {min(grid.shape)} slices of {max(grid.shape)} "
            "voxels across, need the slices' real distance. Mend the headers, or name spacing_mm."
        )
    extents = np.array([np.sort(grid.shape * grid.spacing_mm) for _, grid in grids])
    for (path, _), extent in zip(grids, extents, strict=True):
        ratio = extent / np.median(extents, axis=0)
        if ratio.max() > 2 or ratio.min() < 0.5:
            size = " x ".join(f"{side:.3g}" for side in extent)
            yield (
                f"{path.name}: found a field of view of {size} mm, half or twice the others'. "
                "Is it an image of the same organ, and is its header right?"
            )


def _is_too_thin(grid: Grid) -> bool:
    is_cubic = np.ptp(grid.spacing_mm) < 1e-3 * grid.spacing_mm[0]
    return bool(is_cubic and max(grid.shape) > _MIN_THICK_RATIO * 2 * min(grid.shape))


def cut_maps(print_: Fingerprint) -> Iterator[str]:
    """Label maps whose structures reach the faces of the image."""
    for one in print_.maps:
        if one.cut_share > _MAX_CUT_SHARE:
            yield (
                f"{one.path.name}: the border of the field of view cuts the anatomy where it has "
                f"{one.cut_share:.0%} of its largest section, and so will what is learned from it."
            )


def odd_sides(print_: Fingerprint) -> Iterator[str]:
    """Partners that are none, maps that lie the other way round, headers that name no side."""
    marks = [one.landmarks for one in print_.maps]
    for one, other in partners_on_one_side(marks, print_.table):
        yield (
            f"{one} and its partner, {other}, lie on one side, need one on each. Mend the column "
            "partner of the label table."
        )
    pairs = left_right_pairs(print_.table)
    remarks = [(one.path.name, text) for one in print_.maps for text in one.warnings]
    remarks += [
        (one.path.name, MIRRORED) for one in print_.maps if is_mirrored(one.landmarks, pairs)
    ]
    yield from gathered(remarks)
    for index in unlike_the_others(marks, print_.table.partner):
        yield (
            f"{print_.maps[index].path.name}: its sides lie the other way round than in most maps. "
            "Is its header, or are its labels, mirrored?"
        )


def outliers(print_: Fingerprint) -> Iterator[str]:
    """Maps that differ from the others more than anatomies do."""
    maps = print_.maps
    whole = np.array([one.landmarks.volumes_mm3[print_.table.is_structure].sum() for one in maps])
    residual = np.array([one.residual_mm for one in maps])
    usual = np.median(residual)
    spread = 1.48 * np.median(np.abs(residual - usual)) + 0.1 * usual
    for one, volume_mm3, residual_mm in zip(maps, whole, residual, strict=True):
        ratio = volume_mm3 / np.median(whole)
        if not 1 / _MAX_VOLUME_RATIO < ratio < _MAX_VOLUME_RATIO:
            yield f"{one.path.name}: the anatomy has {ratio:.2g} times the usual volume."
        if residual_mm > usual + _MAX_SPREADS * spread:
            found, usually = told_apart(residual_mm, usual)
            yield (
                f"{one.path.name}: centroids lie {found} mm from the mean anatomy's, "
                f"usual are {usually} mm. Are its labels, sides and header right?"
            )
