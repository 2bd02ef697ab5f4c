"""`reconstruct`: label maps in, what a prior makes of them out."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seg_prior.config.runtime import RuntimeConfig
from seg_prior.errors import ConfigError, SegPriorError
from seg_prior.files import Files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from seg_prior.checkpoints.file import Model
    from seg_prior.core.labels import LabelTable
    from seg_prior.metrics.scores import Score

SUMMARY = "Encode label maps, decode them, and say how much is lost."
EXAMPLE = "seg-prior reconstruct prior.safetensors maps/ --out reconstructions/"
OPERANDS = "model labels..."
NUM_SHOWN = 4
"""Subjects on the picture, side by side."""
log = logging.getLogger(__name__)


class Config(RuntimeConfig):
    """`reconstruct`: label maps in, what a prior makes of them out."""

    model: Path
    """Checkpoint of any kind."""
    labels: list[Path]
    """Label maps of any grid: files, folders, patterns or .txt lists."""
    out: Path
    """Folder for the reconstructions, on the prior grid, a picture and a table of Dice."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One label map and what the prior makes of it, both (D, H, W) label indices in prior space."""

    subject: str
    label_map: NDArray[np.uint8]
    reconstruction: NDArray[np.uint8]


class ReconstructFiles(NamedTuple):
    """What `run` writes."""

    label_maps: tuple[Path, ...]
    picture: Path
    table: Path


@dataclass(frozen=True, eq=False)
class ReconstructResult:
    """Scores of the maps that could be read, and (file, message) of the others."""

    scores: tuple[Score, ...]
    failed: tuple[tuple[Path, str], ...]


def files(config: Config) -> Files:
    """What `run` reads and writes."""
    from seg_prior.io.find import find_label_maps

    written = plan(config)
    reads = [config.model, *find_label_maps(config.labels)]
    return Files(reads, [*written.label_maps, written.picture, written.table])


def run(config: Config) -> ReconstructResult:
    """Bring label maps to prior space, encode, decode the mean of q(z | s), and compare.

    A map that cannot be read stops no other, unless it is alone. Of kind atlas, which has no
    latent, every reconstruction is the atlas.

    Raises:
        SegPriorError: The request does not fit, or the only map failed.
    """
    import numpy as np

    from seg_prior.checkpoints.file import load_model
    from seg_prior.core.device import start
    from seg_prior.core.volume import Volume
    from seg_prior.io.find import find_label_maps
    from seg_prior.io.write import write_volume
    from seg_prior.metrics.scores import score_label_maps

    paths = find_label_maps(config.labels)
    written = plan(config)
    device = start(config)
    model = load_model(config.model)
    model.prior.to(device)
    header, table = model.header, model.header.label_table.written
    grid = Volume(np.zeros(header.shape, dtype=np.uint8), header.grid)
    names = {label.id: label.name for label in table.labels if label.is_structure}
    scores: list[Score] = []
    failed: list[tuple[Path, str]] = []
    shown: list[Reconstruction] = []
    for path, target in zip(paths, written.label_maps, strict=True):
        try:
            result = reconstruct(model, path)
        except SegPriorError as error:
            if len(paths) == 1:
                raise
            failed.append((path, str(error)))
            continue
        ids = table.ids
        maps = (ids[result.reconstruction], ids[result.label_map])
        write_volume(target, maps[0], grid)
        scores += score_label_maps(result.subject, maps, header.grid, names, surface=False)
        if len(shown) < NUM_SHOWN:
            shown.append(result)
    if shown:
        _write_picture(written.picture, shown, model)
        _write_table(written.table, scores)
    for line in describe(scores, table):
        log.info(line)
    return ReconstructResult(tuple(scores), tuple(failed))


def plan(config: Config) -> ReconstructFiles:
    """The files that `run` writes.

    Raises:
        ConfigError: `out` is a file, or two label maps are of one subject.
        ImageError: A label map does not exist.
    """
    from seg_prior.io.find import find_label_maps, scan_key

    if config.out.is_file():
        raise ConfigError(f"{config.out}: found a file, need a folder to write to. Name another.")
    subjects = [scan_key(path) for path in find_label_maps(config.labels)]
    repeated = {subject for subject in subjects if subjects.count(subject) > 1}
    if repeated:
        raise ConfigError(
            f"labels: found two label maps of subject {min(repeated)}, need one. Rename one."
        )
    return ReconstructFiles(
        tuple(config.out / f"{subject}_reconstruction_dseg.nii.gz" for subject in subjects),
        config.out / "reconstructions.png",
        config.out / "dice.csv",
    )


def reconstruct(model: Model, path: Path) -> Reconstruction:
    """One label map of any grid, in prior space, and its reconstruction there.

    Raises:
        ImageError, LabelsError: The map cannot be read, holds unknown ids or no structure.
    """
    import torch

    from seg_prior.commands.sample import decode_label_map
    from seg_prior.io.find import scan_key
    from seg_prior.synthesis.anatomies import sample_labels
    from seg_prior.training.align import align_label_maps

    [aligned] = align_label_maps([path], model)
    labels = sample_labels(aligned, model.header.grid)
    known = model.location.group_of_label.cpu()[labels.long()].to(torch.uint8)
    return Reconstruction(
        scan_key(path), known.numpy(), decode_label_map(model, encode_mean(model, labels))
    )


def encode_mean(model: Model, labels: Tensor) -> Tensor:
    """(D, H, W) label indices -> (1, K) mean of q(z | s)."""
    import torch

    from seg_prior.models.label_vae import one_hot

    voxels = model.location.voxels
    inside = labels.to(voxels.device).flatten()[voxels]
    with torch.inference_mode():
        mean, _ = model.prior.encode(one_hot(inside[None], len(model.header.label_table)))
    return mean


def describe(scores: Sequence[Score], table: LabelTable) -> list[str]:
    """Dice of every structure, mean and standard deviation over subjects, for people."""
    from seg_prior.metrics.scores import ALL, summarise

    width = max(len(name) for name in (*table.names, ALL))
    lines = [f"{'Dice':{width}}    mean     sd   n"]
    for row in summarise(scores):
        mean, sd, n = row.dice
        if n:
            lines.append(f"{row.name:{width}}  {mean:6.3f} {sd:6.3f} {n:3d}")
    return lines


def _write_picture(path: Path, results: Sequence[Reconstruction], model: Model) -> None:
    """Each map above its reconstruction."""
    from seg_prior.report.overlay import Panel, write_overlay

    grid, table = model.header.grid, model.header.label_table.written
    above = [Panel(r.subject, grid, label_map=r.label_map) for r in results]
    below = []
    for result in results:
        title = f"{result.subject} reconstructed"
        below.append(Panel(title, grid, label_map=result.reconstruction))
    write_overlay(path, [*above, *below], table, num_columns=len(results))


def _write_table(path: Path, scores: Sequence[Score]) -> None:
    """One row a subject and structure; an empty cell where the map lacks the structure."""
    from seg_prior.io.tables import write_table

    rows = [
        (s.subject, s.id, s.name, "" if math.isnan(s.dice) else f"{s.dice:.6f}") for s in scores
    ]
    write_table(path, ("subject", "id", "name", "dice"), rows)
