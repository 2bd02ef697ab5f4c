"""Label maps brought to the frame of a prior that exists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from seg_prior.checkpoints.file import Model
from seg_prior.core.grid import Affine
from seg_prior.errors import LabelsError
from seg_prior.io.nifti import read_label_map
from seg_prior.registration import label_alignment
from seg_prior.registration.groupwise import find_landmarks, fit_affine
from seg_prior.synthesis.anatomies import AlignedLabelMap


def align_label_maps(paths: Sequence[Path], model: Model) -> list[AlignedLabelMap]:
    """Fit each map's label centroids, or of few labels all voxels, to the most frequent labels.

    Raises:
        ImageError, LabelsError: A map cannot be read, holds unknown ids or no structure.
    """
    table, location = model.header.label_table, model.location
    frequent = location.likeliest(location.log_prob[None])[None]
    mean_map = location.scatter(frequent, 0)[0, 0].cpu().numpy()
    mean_affine = model.header.grid.affine
    reference = find_landmarks(mean_map, mean_affine, table.is_structure)
    is_sharpened = table.is_structure.sum() < label_alignment.MIN_LANDMARKS
    # The mean map goes first: the others move, it alone says where to.
    points = [label_alignment.draw_points(mean_map, mean_affine, table.is_structure, seed=0)]
    moves: list[Affine] = [np.eye(4)]
    found = []
    for path in paths:
        volume = read_label_map(path)
        indices = table.remap(volume.data, volume.source)
        if not table.is_structure[indices].any():
            raise LabelsError(f"{path}: found background only, need a label map.")
        landmarks = find_landmarks(indices, volume.grid.affine, table.is_structure)
        moves.append(fit_affine(landmarks, reference))
        points.append(
            label_alignment.draw_points(indices, volume.grid.affine, table.is_structure, seed=0)
        )
        found.append((torch.from_numpy(indices), volume.grid))
    if is_sharpened:
        is_counted = [True] + [False] * len(found)
        moves = label_alignment.sharpen(points, moves, is_counted, reference.radius_mm, len(table))
    return [
        AlignedLabelMap(indices, grid, move)
        for (indices, grid), move in zip(found, moves[1:], strict=True)
    ]
