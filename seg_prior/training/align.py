"""Label maps brought to the frame of a prior that exists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from seg_prior.checkpoints.file import Model
from seg_prior.config.synthesis import SynthesisConfig
from seg_prior.core.grid import Affine
from seg_prior.core.volume import Volume
from seg_prior.errors import LabelsError
from seg_prior.inference.atlas import typical_intensities
from seg_prior.io.read import read_label_map
from seg_prior.registration import label_alignment
from seg_prior.registration.groupwise import find_landmarks, fit_affine
from seg_prior.synthesis.ageing import named_ids
from seg_prior.synthesis.anatomies import AlignedLabelMap
from seg_prior.synthesis.scan import centered
from seg_prior.synthesis.sources import Sources


def align_label_maps(paths: Sequence[Path], model: Model) -> list[AlignedLabelMap]:
    """Label maps, as indices of the model's labels, in the frame of its prior.

    Raises:
        ImageError, LabelsError: A map cannot be read, holds unknown ids or no structure.
    """
    table, volumes = model.header.label_table, [read_label_map(path) for path in paths]
    return [
        AlignedLabelMap(
            torch.from_numpy(table.remap(volume.data, volume.source)), volume.grid, move
        )
        for volume, move in zip(volumes, _moves(volumes, model), strict=True)
    ]


def align_sources(
    paths: Sequence[Path], model: Model, config: SynthesisConfig
) -> tuple[list[AlignedLabelMap], Sources]:
    """Label maps, as indices of sources, in the frame of a model's prior; and the sources.

    Raises:
        ImageError, LabelsError: As `align_label_maps`.
        ConfigError: The config names an id that is in no label.
    """
    volumes = [read_label_map(path) for path in paths]
    moves = _moves(volumes, model)
    sources = sources_of(volumes, model, config)
    maps = [
        AlignedLabelMap(torch.from_numpy(sources.index(volume.data)), volume.grid, move)
        for volume, move in zip(volumes, moves, strict=True)
    ]
    return maps, sources


def centered_map(
    path: Path, model: Model, config: SynthesisConfig
) -> tuple[AlignedLabelMap, Sources]:
    """A label map for `synthetic_scan`, as indices of sources, its anatomy at the world's origin.

    Raises:
        ImageError, LabelsError: It cannot be read, holds unknown ids or no structure.
        ConfigError: The config names an id that is in no label.
    """
    volume = read_label_map(path)
    sources = sources_of([volume], model, config)
    if not sources.is_structure[sources.index(np.unique(volume.data))].any():
        raise LabelsError(f"{path}: found background only, need a label map.")
    return centered(volume, sources), sources


def sources_of(volumes: Sequence[Volume], model: Model, config: SynthesisConfig) -> Sources:
    """The ids of label maps that are read by a model's label table, and those the config names.

    Raises:
        LabelsError: A map holds an id that the label table does not name.
        ConfigError: The config names one.
    """
    header = model.header
    found: set[int] = set()
    for volume in volumes:
        header.label_table.remap(volume.data, volume.source)
        found |= set(np.unique(volume.data).tolist())
    found |= named_ids(config.ageing) | set(config.free_ids)
    typical = typical_intensities(model)
    return Sources.of(found, header.label_table, typical, header.intensity.ties)


def _moves(volumes: Sequence[Volume], model: Model) -> list[Affine]:
    """Fit each map's label centroids, or of few labels all voxels, to the most frequent labels."""
    table, location = model.header.label_table, model.location
    frequent = location.likeliest(location.log_prob[None])[None]
    mean_map = location.scatter(frequent, 0)[0, 0].cpu().numpy()
    mean_affine = model.header.grid.affine
    reference = find_landmarks(mean_map, mean_affine, table.is_structure)
    is_sharpened = table.is_structure.sum() < label_alignment.MIN_LANDMARKS
    # The mean map goes first: the others move, it alone says where to.
    points = [label_alignment.draw_points(mean_map, mean_affine, table.is_structure, seed=0)]
    moves: list[Affine] = [np.eye(4)]
    for volume in volumes:
        indices = table.remap(volume.data, volume.source)
        if not table.is_structure[indices].any():
            raise LabelsError(f"{volume.source}: found background only, need a label map.")
        landmarks = find_landmarks(indices, volume.grid.affine, table.is_structure)
        moves.append(fit_affine(landmarks, reference))
        points.append(
            label_alignment.draw_points(indices, volume.grid.affine, table.is_structure, seed=0)
        )
    if is_sharpened:
        is_counted = [True] + [False] * len(volumes)
        moves = label_alignment.sharpen(points, moves, is_counted, reference.radius_mm, len(table))
    return moves[1:]
