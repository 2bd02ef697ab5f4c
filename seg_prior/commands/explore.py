"""`explore`: a prior in, walks through the anatomies it knows out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from seg_prior.config.runtime import RuntimeConfig
from seg_prior.errors import CheckpointError, ConfigError
from seg_prior.files import Files

if TYPE_CHECKING:
    from torch import Tensor

    from seg_prior.checkpoints.file import Model
    from seg_prior.core.labels import LabelTable
    from seg_prior.inference.walks import Walk
    from seg_prior.report.explore_page import ShownWalk

SUMMARY = "Walk through the anatomies that a prior knows, on a page and as images."
EXAMPLE = "seg-prior explore prior.safetensors walks/ --between young.nii.gz old.nii.gz"
OPERANDS = "model out"
REACH_SD, STEPS = 3, 8
"""Of a direction in deviations to both sides, and from one end of other walks to the other."""
log = logging.getLogger(__name__)


class Config(RuntimeConfig):
    """`explore`: a prior in, walks through the anatomies it knows out."""

    model: Path
    """Checkpoint of a prior that has a latent: of any kind but atlas."""
    out: Path
    """Folder for the page, the series of label maps on the prior grid, and tables."""
    labels: list[Path] = []
    """Label maps: they tell the leading directions, and each anatomy its nearest of them."""
    between: list[Path] = []
    """Walk from the first of two label maps to the second."""
    arithmetic: list[Path] = []
    """Of label maps OLD YOUNG THIS, walk from THIS to OLD - YOUNG + THIS."""
    num: int = Field(3, ge=0, le=20)
    """Walk along so many leading directions."""


class ExploreFiles(NamedTuple):
    """What `run` writes; a series for each walk, and `nearest` only of label maps."""

    page: Path
    volumes: Path
    nearest: Path | None
    series: tuple[Path, ...]


class Known(NamedTuple):
    """Label maps by name, and (N, K) their codes."""

    names: tuple[str, ...]
    codes: Tensor


def files(config: Config) -> Files:
    """What `run` reads and writes."""
    written = plan(config)
    tables = [written.volumes, *([written.nearest] if written.nearest else [])]
    reads = [config.model, *_maps(config), *config.between, *config.arithmetic]
    return Files(reads, [written.page, *tables, *written.series])


def plan(config: Config) -> ExploreFiles:
    """The files that `run` writes.

    Raises:
        ConfigError: `out` is a file, a walk has too few or too many ends, or there is none.
        ImageError: A label map does not exist.
    """
    if config.out.is_file():
        raise ConfigError(f"{config.out}: found a file, need a folder to write to. Name another.")
    names = [f"direction-{number}" for number in range(1, config.num + 1)]
    for key, needed, what in (("between", 2, "A B"), ("arithmetic", 3, "OLD YOUNG THIS")):
        found = len(getattr(config, key))
        if found not in (0, needed):
            raise ConfigError(f"{key}: found {found} label maps, need {needed}. Give it {what}.")
        names += [key] if found else []
    if not names:
        raise ConfigError("num: found 0 and no other walk, need one. Ask for a direction.")
    num_maps = len(_maps(config))
    if 0 < num_maps <= config.num:
        raise ConfigError(
            f"labels: found {num_maps}, need more than the {config.num} directions that they are "
            "to tell. Add label maps, or ask for fewer by --num."
        )
    return ExploreFiles(
        config.out / "explore.html",
        config.out / "volumes.tsv",
        config.out / "nearest.tsv" if num_maps else None,
        tuple(config.out / f"{name}_dseg.nii.gz" for name in names),
    )


def run(config: Config) -> ExploreFiles:
    """Find directions, decode the anatomies along every walk, and write them.

    Raises:
        CheckpointError: Not a checkpoint of a prior that has a latent.
        ConfigError: `out` is a file, or there are fewer directions than asked for.
        ImageError, LabelsError: A map cannot be read, holds unknown ids or no structure.
    """
    from seg_prior.checkpoints.file import load_model
    from seg_prior.core.device import start
    from seg_prior.core.progress import progress
    from seg_prior.report.explore_page import write_explore_page

    written = plan(config)
    device = start(config)
    model = load_model(config.model)
    if not model.prior.num_latents:
        raise CheckpointError(
            f"{config.model}: found a checkpoint of kind '{model.header.kind}', which has no "
            "latent, need one to walk in. Train one by train-prior --kind vae or pca."
        )
    model.prior.to(device)
    paths = _maps(config)
    known = Known(tuple(path.name for path in paths), encode(model, paths)) if paths else None
    shown: list[ShownWalk] = []
    for walk in progress(walks(config, model, known), log, "walks", total=len(written.series)):
        shown.append(shown_walk(model, walk, known))
    for one, path in zip(shown, written.series, strict=True):
        _write_series(path, one, model)
    table = model.header.label_table.written
    _write_volumes(written.volumes, shown, table)
    if written.nearest:
        _write_nearest(written.nearest, shown)
    write_explore_page(written.page, config.model.name, shown, table, model.header.grid)
    for one in shown:
        log.info("%s: %s", one.name, one.title)
    log.info("open %s in a browser", written.page)
    return written


def encode(model: Model, paths: Sequence[Path]) -> Tensor:
    """(N, K) means of q(z | s) of label maps of any grid.

    Raises:
        ImageError, LabelsError: A map cannot be read, holds unknown ids or no structure.
    """
    import torch

    from seg_prior.commands.reconstruct import encode_mean
    from seg_prior.synthesis.anatomies import sample_labels
    from seg_prior.training.align import align_label_maps

    maps = align_label_maps(paths, model)
    grid = model.header.grid
    return torch.cat([encode_mean(model, sample_labels(aligned, grid)) for aligned in maps])


def walks(config: Config, model: Model, known: Known | None) -> list[Walk]:
    """Along the leading directions, between two maps, and from one as two others differ.

    Raises:
        ConfigError: There are fewer directions than asked for.
        ImageError, LabelsError: As `encode`.
    """
    from seg_prior.inference.walks import Walk, directions_of, middle

    codes = None if known is None else known.codes
    directions: list[Tensor] = []
    if config.num:
        directions = list(directions_of(model, codes, config.num))
    if len(directions) < config.num:
        raise ConfigError(
            f"num: found {config.num}, need at most {len(directions)}, the directions that "
            f"{config.model} has. Ask for fewer."
        )
    start, num_coarse = middle(model.prior), model.prior.num_coarse
    if codes is not None:  # the detail is what one map has and no other, and stays in the middle
        start[:, :num_coarse] = codes[:, :num_coarse].mean(0)
    reach = tuple(float(sd) for sd in range(-REACH_SD, REACH_SD + 1))
    found = [
        Walk(f"direction-{n}", f"direction {n}", start, direction[None], reach, "sd")
        for n, direction in enumerate(directions, start=1)
    ]
    share = tuple(step / STEPS for step in range(STEPS + 1))
    if config.between:
        ends = encode(model, config.between)
        first, last = ends[:1], ends[1:]
        title = f"from {config.between[0].name} to {config.between[1].name}"
        found.append(Walk("between", title, first, last - first, share, ""))
    if config.arithmetic:
        terms = encode(model, config.arithmetic)
        old, young, this = terms[:1], terms[1:2], terms[2:]
        names = [path.name for path in config.arithmetic]
        title = f"{names[2]} + ({names[0]} - {names[1]})"
        found.append(Walk("arithmetic", title, this, old - young, share, ""))
    return found


def shown_walk(model: Model, walk: Walk, known: Known | None) -> ShownWalk:
    """The anatomies along a walk, and the label map that is nearest to each."""
    import numpy as np

    from seg_prior.inference.walks import decode, distances, title_of
    from seg_prior.report.explore_page import Nearest, ShownWalk

    anatomies, nearest = [], []
    for frame in range(len(walk.positions)):
        z = walk.code(frame)
        anatomies.append(decode(model, z))
        if known is not None:
            away = distances(model.prior, z, known.codes)
            closest = int(away.argmin())
            nearest.append(Nearest(known.names[closest], float(away[closest])))
    table = model.header.label_table.written
    volumes = np.stack([anatomy.volumes_mm3 for anatomy in anatomies])
    title = walk.title
    if walk.unit:
        is_named = table.is_structure & (volumes.min(0) > 0)
        ends = np.log(volumes[-1, is_named] / volumes[0, is_named])
        names = [name for name, named in zip(table.names, is_named, strict=True) if named]
        title = f"{title}: {title_of(ends, names)}"
    maps = np.stack([anatomy.label_map for anatomy in anatomies], axis=3)
    return ShownWalk(walk.name, title, walk.positions, walk.unit, maps, volumes, tuple(nearest))


def _maps(config: Config) -> list[Path]:
    from seg_prior.io.find import find_label_maps

    return find_label_maps(config.labels) if config.labels else []


def _write_series(path: Path, walk: ShownWalk, model: Model) -> None:
    """The label maps of a walk along a fourth axis."""
    import numpy as np

    from seg_prior.core.volume import Volume
    from seg_prior.io.formats.nifti import write_series

    ids = model.header.label_table.written.ids
    like = Volume(np.zeros(model.header.shape, dtype=np.uint8), model.header.grid)
    dtype = np.min_scalar_type(int(ids.max()))
    frames = (ids[label_map] for label_map in np.moveaxis(walk.label_maps, 3, 0))
    write_series(path, frames, walk.label_maps.shape[3], like, dtype)


def _write_volumes(path: Path, shown: Sequence[ShownWalk], table: LabelTable) -> None:
    """One row a walk, position and structure."""
    from seg_prior.io.tables import write_table

    def rows() -> Iterator[tuple[str, ...]]:
        for walk in shown:
            for position, volumes in zip(walk.positions, walk.volumes_mm3, strict=True):
                for label, mm3 in zip(table.labels[1:], volumes[1:], strict=True):
                    yield walk.name, f"{position:g}", str(label.id), label.name, f"{mm3:.1f}"

    write_table(path, ("walk", "position", "index", "name", "volume_mm3"), rows())


def _write_nearest(path: Path, shown: Sequence[ShownWalk]) -> None:
    """One row a walk and position: the nearest label map, and how far it is."""
    from seg_prior.io.tables import write_table

    rows = (
        (walk.name, f"{position:g}", near.name, f"{near.distance:.4f}")
        for walk in shown
        for position, near in zip(walk.positions, walk.nearest, strict=True)
    )
    write_table(path, ("walk", "position", "nearest", "distance"), rows)
