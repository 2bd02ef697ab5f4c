"""What label maps must be for a prior to be made of them, and the space that it gets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seg_prior.config.training import PriorConfig
from seg_prior.core.grid import Grid, apply_affine
from seg_prior.core.labels import LabelTable
from seg_prior.core.memory import too_much
from seg_prior.core.sides import left_right_pairs
from seg_prior.core.volume import Volume, gathered
from seg_prior.errors import ConfigError, LabelsError
from seg_prior.models.blocks import COARSENING
from seg_prior.registration import groupwise
from seg_prior.registration.groupwise import Landmarks
from seg_prior.registration.laterality import MIRRORED, is_mirrored, partners_on_one_side
from seg_prior.synthesis.anatomies import AlignedLabelMap

_BYTES_PER_VOXEL = 24
"""Of prior space and label: frequency, location prior, its gradient."""
_MAX_SPREAD = 2.0
"""Of prior space, in diagonals of the largest anatomy."""


def check_partners(landmarks: Sequence[Landmarks], table: LabelTable, source: Path | None) -> None:
    """Refuse partners that lie on one side: their mirror images would never meet the maps."""
    for one, other in partners_on_one_side(landmarks, table):
        raise LabelsError(
            f"{source or 'label maps'}: {one} and its partner, {other}, lie on one side, need one "
            "on each. Mend the column partner."
        )


def remarks_on(
    volumes: Sequence[Volume], landmarks: Sequence[Landmarks], table: LabelTable
) -> tuple[str, ...]:
    """What a person should know of label maps, one line for all of which it is true."""
    pairs = left_right_pairs(table)
    warnings = [(volume.source, text) for volume in volumes for text in volume.warnings]
    mirrored = [
        (volume.source, MIRRORED)
        for volume, marks in zip(volumes, landmarks, strict=True)
        if is_mirrored(marks, pairs)
    ]
    return tuple(gathered([*warnings, *mirrored]))


def prior_grid(
    config: PriorConfig, names: Sequence[str], maps: Sequence[AlignedLabelMap], table: LabelTable
) -> Grid:
    """The grid around all anatomies in their common frame.

    Args:
        config: Its spacing and margin, and the warps that it has to hold.
        names: Of the files, for messages.
        maps: One for each.
        table: The labels.

    Raises:
        LabelsError: It would be far larger than they are.
        ConfigError: It takes more memory than is free.
    """
    extents, native_mm = [], 0.0
    for label_map in maps:
        voxels = np.argwhere(table.is_structure[label_map.indices.numpy()])
        points = apply_affine(label_map.prior_from_native @ label_map.grid.affine, voxels)
        extents.append((points.min(axis=0), points.max(axis=0)))
        native = apply_affine(label_map.grid.affine, voxels)
        native_mm = max(native_mm, float(np.linalg.norm(native.max(axis=0) - native.min(axis=0))))
    spacing_mm = config.spacing_mm
    if spacing_mm is None:
        longest_mm = max(float((high - low).max()) for low, high in extents)
        spacing_mm = float(f"{longest_mm / 104:.2g}")
    size_mm = float(np.max([high for _, high in extents]) - np.min([low for low, _ in extents]))
    if size_mm > _MAX_SPREAD * native_mm:
        corners = np.array(extents).reshape(len(extents), -1)
        away_mm = np.abs(corners - np.median(corners, axis=0)).max(axis=1)
        raise LabelsError(
            f"{names[int(away_mm.argmax())]}: found an anatomy that lies {away_mm.max():.3g} mm "
            f"from most where their labels meet, of maps of {native_mm:.3g} mm; need maps of one "
            "kind. Are its ids and its header, and the partners in the label table, right?"
        )
    finest_mm = min(config.augment.warp_knots_mm, default=spacing_mm)
    if finest_mm < spacing_mm / 2:
        raise ConfigError(
            f"augment.warp_knots_mm: found {finest_mm:.3g} mm, need at least half a voxel of prior "
            f"space, {spacing_mm / 2:.3g} mm. Choose a larger distance."
        )
    grid = groupwise.bounding_grid(extents, spacing_mm, config.margin_mm, COARSENING)
    refusal = too_much(_BYTES_PER_VOXEL * float(len(table)) * math.prod(grid.shape))
    if refusal:
        raise ConfigError(
            f"spacing_mm: found {spacing_mm:.3g} mm, which makes a prior space of {grid.shape} "
            f"voxels that {refusal}. Choose a larger one."
        )
    return grid
