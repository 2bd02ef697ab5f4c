"""`train-locator`: a prior, and scans or label maps in, the prior that finds its organ out.

Of scans cut like the label maps: the prior reads every one as it does without a locator, and a
network learns from what it makes of them, in random poses and intensities, to say the same at a
glance. What went wrong in single scans, such as an organ laid on a neighbour, is no rule that a
network could learn, so it is outvoted. Of an organ in any field of view: the network learns from
synthetic scans of label maps, whole or stripped or cut, in random poses.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from seg_prior.config.optim import OptimConfig
from seg_prior.config.runtime import RuntimeConfig
from seg_prior.config.synthesis import SynthesisConfig
from seg_prior.core.progress import progress
from seg_prior.errors import ConfigError, SegPriorError
from seg_prior.files import Files

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from seg_prior.checkpoints.file import Model
    from seg_prior.checkpoints.header import Header
    from seg_prior.core.grid import Grid

SUMMARY = "Teach a prior where its organ lies in scans, from unlabelled ones or from label maps."
EXAMPLE = (
    "seg-prior train-locator scans/ --prior prior.safetensors \\\n    --out located.safetensors"
)
OPERANDS = "images..."
log = logging.getLogger(__name__)


class Config(RuntimeConfig):
    """`train-locator`: a prior, and scans or label maps in, the prior that finds its organ out."""

    images: list[Path] = []
    """Unlabelled scans, for a prior trained with `pose: as_maps`: files, folders, patterns or .txt
    lists."""
    labels: list[Path] = []
    """Label maps that synthetic scans are made of, for a prior of scans in any pose; instead of
    `images`."""
    holdout: list[str] = []
    """Subjects of `labels` (file names up to the suffix) kept out of training, with all sessions of
    the same people."""
    synthesis: SynthesisConfig = SynthesisConfig()
    """Of the synthetic scans."""
    prior: Path
    """Checkpoint of any kind."""
    out: Path
    """Checkpoint to write: the same prior and the network."""
    spacing_mm: float | None = Field(None, gt=0, le=1000)
    """Of the grid that the network sees images on; None takes the finest on which the median scan
    or label map has 400,000 voxels, and none finer than prior space."""
    optim: OptimConfig = OptimConfig(steps=800, batch_size=2, learning_rate=2e-3, warmup_steps=50)
    """Of the network."""


def files(config: Config) -> Files:
    """What `run` reads and writes."""
    from seg_prior.checkpoints.provenance import training_files
    from seg_prior.io.find import find_images, find_label_maps

    reads = find_label_maps(config.labels) if config.labels else find_images(config.images)
    logs = training_files(config.out.with_suffix(""))
    return Files([config.prior, *reads], logs, signed=[config.out])


def run(config: Config) -> Header:
    """Make or read scans, train the network on that, write the checkpoint.

    Raises:
        SegPriorError: An input does not fit, or fewer than two scans could be read.
    """
    import torch

    from seg_prior.checkpoints.file import save_model
    from seg_prior.checkpoints.header import read_header
    from seg_prior.checkpoints.provenance import check_checkpoint_name, signed
    from seg_prior.checkpoints.request import Request, is_trained
    from seg_prior.config.networks import LocatorConfig
    from seg_prior.core.device import is_first_process, start
    from seg_prior.models.locator import Locator
    from seg_prior.training.curves import draw_log
    from seg_prior.training.loop import Run, forget, train
    from seg_prior.training.losses import locator_losses

    check_checkpoint_name(config.out)
    if bool(config.images) == bool(config.labels):
        raise ConfigError(
            f"images: found {len(config.images)} beside {len(config.labels)} of --labels, need "
            "one of both. Name scans for a prior of crops, --labels for one of any field of view."
        )
    request = Request.of(config, files(config).reads)
    if is_trained(config.out, "train-locator", request):
        log.info("%s is finished, of the same prior, inputs and settings", config.out)
        return read_header(config.out)
    device = start(config)
    model, lesson = (_from_labels if config.labels else _from_scans)(config)
    torch.manual_seed(config.seed)
    locator = Locator(
        len(model.header.label_table.written), LocatorConfig(spacing_mm=lesson.spacing_mm)
    )
    folder = config.out.with_suffix("")
    train(locator, locator_losses, lesson.views, config.optim, Run(folder, device, request))
    draw_log(folder)
    # A calibration is of the prior without the network.
    header = model.header.model_copy(update={"locator": locator.config, "calibration": None})
    header = signed(header, "train-locator", config, lesson.num_scans, request.record())
    if is_first_process():
        save_model(config.out, header, model.prior, locator, model.image_reader)
        forget(folder)
        log.info("wrote %s (%.1f MB)", config.out, config.out.stat().st_size / 1e6)
    return header


class _Lesson(NamedTuple):
    """What the network learns from.

    Attributes:
        views: Of scans.
        spacing_mm: Of the views.
        num_scans: Or label maps, that they are made of.
    """

    views: Dataset[Any]
    spacing_mm: float
    num_scans: int


def _from_labels(config: Config) -> tuple[Model, _Lesson]:
    """The prior, and views of synthetic scans."""
    from seg_prior.checkpoints.file import load_model
    from seg_prior.io.find import find_label_maps
    from seg_prior.io.read import read_label_map
    from seg_prior.training.holdout import kept
    from seg_prior.training.locator import propose_spacing_mm
    from seg_prior.training.synthetic_views import SyntheticViews

    model = load_model(config.prior)
    if model.header.pose_prior is not None:
        raise ConfigError(
            f"{config.prior}: found a prior of scans cut like the label maps, need one of any "
            "field of view. Name unlabelled scans instead of --labels."
        )
    maps = kept(find_label_maps(config.labels), config.holdout)
    grids = [read_label_map(path).grid for path in maps]
    spacing_mm = config.spacing_mm or propose_spacing_mm(grids, model.header.grid)
    log.info("the locator sees synthetic scans of %d maps at %.3g mm", len(maps), spacing_mm)
    views = SyntheticViews.of(maps, model, config.synthesis, spacing_mm, config.seed, config.optim)
    return model, _Lesson(views, spacing_mm, len(maps))


def _from_scans(config: Config) -> tuple[Model, _Lesson]:
    """The prior, and views of scans that it has read itself."""
    from seg_prior.api import Segmenter
    from seg_prior.training.locator import propose_spacing_mm
    from seg_prior.training.locator_dataset import RandomViews, pseudo_labelled

    teacher = Segmenter.load(
        config.prior, device=config.device, threads=config.threads, seed=config.seed
    )
    model = teacher.model
    if model.header.pose_prior is None:
        raise ConfigError(
            f"{config.prior}: found a prior of scans in any pose, need one of scans cut like the "
            "label maps. Train it with --pose as_maps, or name --labels instead of scans."
        )
    if model.locator is not None:
        raise ConfigError(
            f"{config.prior}: found a prior that has a locator, need one without, which reads "
            "scans by their own evidence. Name the one that it was trained from."
        )
    grids = _grids(config.images)
    spacing_mm = config.spacing_mm or propose_spacing_mm([*grids.values()], model.header.grid)
    scans = []
    for path in progress(grids, log, "scans read", total=len(grids), is_slow=True):
        try:
            scans.append(pseudo_labelled(teacher.segment(path), spacing_mm))
        except SegPriorError as error:
            log.warning("left out: %s", error)
    if len(scans) < 2:
        raise ConfigError(f"images: found {len(scans)} scans that can be read, need two or more.")
    log.info("read %d scans; the locator sees them at %.3g mm", len(scans), spacing_mm)
    views = RandomViews(scans, config.seed, config.optim.steps * config.optim.batch_size)
    return model, _Lesson(views, spacing_mm, len(scans))


def _grids(images: list[Path]) -> dict[Path, Grid]:
    """The grids of the scans that can be read."""
    from seg_prior.io.find import find_images
    from seg_prior.io.read import read_volume

    grids = {}
    for path in find_images(images):
        try:
            grids[path] = read_volume(path).grid
        except SegPriorError as error:
            log.warning("left out: %s", error)
    if not grids:
        raise ConfigError("images: found none that can be read, need two or more.")
    return grids
