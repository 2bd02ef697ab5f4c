"""Label maps brought to the frame of a prior that exists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from seg_prior.checkpoint import Model
from seg_prior.conform.group import find_landmarks, fit_affine
from seg_prior.errors import LabelsError
from seg_prior.training.datasets import AlignedLabelMap
from seg_prior.volume import read_label_map


def align_label_maps(paths: Sequence[Path], model: Model) -> list[AlignedLabelMap]:
    """Fit each map's label centroids to those of the prior's most frequent labels.

    Raises:
        ImageError, LabelsError: A map cannot be read, holds unknown ids or no structure.
    """
    table, location = model.header.label_table, model.location
    frequent = location.scatter(location.log_prob.argmax(0)[None, None].float(), 0.0)[0, 0].cpu()
    reference = find_landmarks(
        frequent.long().numpy(), model.header.grid.affine, table.is_structure
    )
    aligned = []
    for path in paths:
        volume = read_label_map(path)
        indices = table.remap(volume.data, volume.source)
        if not table.is_structure[indices].any():
            raise LabelsError(f"{path}: found background only, need a label map.")
        landmarks = find_landmarks(indices, volume.grid.affine, table.is_structure)
        move = fit_affine(landmarks, reference)
        aligned.append(AlignedLabelMap(torch.from_numpy(indices), volume.grid, move))
    return aligned
