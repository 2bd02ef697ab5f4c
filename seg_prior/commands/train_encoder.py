"""`train-encoder`: label maps and their prior in, the prior that reads scans out."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from seg_prior.config.training import EncoderConfig
from seg_prior.errors import ConfigError, LabelsError
from seg_prior.files import Files

if TYPE_CHECKING:
    from seg_prior.checkpoints.file import Model
    from seg_prior.checkpoints.header import Header
    from seg_prior.models.image_reader import ImageReader
    from seg_prior.training.loop import Run

SUMMARY = "Teach a prior to read scans of any contrast, from synthetic scans of label maps."
EXAMPLE = (
    "seg-prior train-encoder label_maps/ \\\n    --prior prior.safetensors --out model.safetensors"
)
OPERANDS = "labels..."
log = logging.getLogger(__name__)


class Config(EncoderConfig):
    """`train-encoder`: label maps and a prior in, the prior with an image reader out."""

    labels: list[Path]
    """Label maps that synthetic scans are made of: files, folders, patterns or .txt lists."""
    prior: Path
    """Checkpoint of any kind."""
    out: Path
    """Checkpoint to write: the same prior and the image reader."""
    start: Path | None = None
    """Checkpoint whose image reader is gone on from; it has seen the aged, so `all_until` is 0."""
    workers: int = Field(0, ge=0, le=256)
    """Processes that make synthetic scans, of one thread each; 0 makes them in this one."""


def files(config: Config) -> Files:
    """What `run` reads and writes."""
    from seg_prior.checkpoints.provenance import training_files
    from seg_prior.io.find import find_label_maps

    folder = config.out.with_suffix("")
    started = [] if config.start is None else [config.start]
    reads = [config.prior, *started, *find_label_maps(config.labels)]
    return Files(reads, training_files(folder), signed=[config.out])


def run(config: Config) -> Header:
    """Make synthetic scans, read them, train the network on that, write the checkpoint.

    Raises:
        SegPriorError: An input does not fit.
    """
    from seg_prior.checkpoints.file import load_model, save_model
    from seg_prior.checkpoints.header import read_header
    from seg_prior.checkpoints.provenance import check_checkpoint_name, signed
    from seg_prior.checkpoints.request import Request, is_trained
    from seg_prior.core.device import is_first_process, start
    from seg_prior.io.find import find_label_maps
    from seg_prior.training.holdout import kept
    from seg_prior.training.loop import Run, forget
    from seg_prior.training.readings import Spread, forget_readings, make_readings

    check_checkpoint_name(config.out)
    request = Request.of(config, files(config).reads)
    if is_trained(config.out, "train-encoder", request):
        log.info("%s is finished, of the same prior, label maps and settings", config.out)
        return read_header(config.out)
    device = start(config)
    maps = kept(find_label_maps(config.labels), config.holdout)
    model = load_model(config.prior)
    ids = model.header.label_table.written.ids.tolist()
    _check_ids("kept_share", config.kept_share, ids)
    for setting, named in (("nats", config.offset.nats), ("gauge_ids", config.offset.gauge_ids)):
        _check_ids(f"offset.{setting}", named, ids)
    started = None if config.start is None else _reader_of(config.start)
    folder = config.out.with_suffix("")
    spread = Spread(config.augment, config.synthesis, config.seed)
    made = folder / "readings"
    paths = make_readings(maps, config.prior, spread, made, config.scans, config.workers)
    reader = _taught(config, model, started, paths, Run(folder, device, request))
    reader.damp({ids.index(i): share for i, share in config.kept_share.items()})
    # A calibration is of the prior without the network.
    news = {"reader": reader.config, "offset": config.offset, "calibration": None}
    header = model.header.model_copy(update=news)
    header = signed(header, "train-encoder", config, len(paths), request.record())
    if is_first_process():
        save_model(config.out, header, model.prior, model.locator, reader)
        forget(folder)
        forget_readings(made)
        log.info("wrote %s (%.1f MB)", config.out, config.out.stat().st_size / 1e6)
    return header


def _taught(
    config: Config, model: Model, started: ImageReader | None, paths: list[Path], run: Run
) -> ImageReader:
    """The network, trained on patches of readings."""
    import torch

    from seg_prior.models.image_reader import ImageReader
    from seg_prior.models.likelihood import intensity_classes
    from seg_prior.models.reader_input import ReaderSpace
    from seg_prior.training.curves import draw_log
    from seg_prior.training.loop import train
    from seg_prior.training.patches import Patches
    from seg_prior.training.reader_losses import reader_losses

    table = model.header.label_table.written
    classes = intensity_classes(model.header.label_table, model.header.intensity)
    location = model.location.on_cpu()
    of_patches, optim = config.patches, config.optim
    if started is not None:
        of_patches = of_patches.model_copy(update={"all_until": 0.0})
    length = optim.steps * optim.batch_size
    patches = Patches(paths, location, classes, table, of_patches, config.seed + 1, length)
    model.prior.to(run.device)
    space, on_device = ReaderSpace.of(model.location, classes), classes.to(run.device)
    torch.manual_seed(config.seed)
    reader = started or ImageReader(space.num_inputs, len(table), config.network)
    train(
        reader,
        lambda network, batch, step: reader_losses(network, space, on_device, batch),
        patches,
        optim,
        run,
    )
    draw_log(run.folder)
    return reader


def _reader_of(path: Path) -> ImageReader:
    from seg_prior.checkpoints.file import load_model

    reader = load_model(path).image_reader
    if reader is None:
        raise ConfigError(
            f"{path}: found no image reader to go on from, need one. Leave out --start."
        )
    return reader.requires_grad_(True)


def _check_ids(setting: str, named: Iterable[int], ids: list[int]) -> None:
    """Raise LabelsError where a setting names what is no label."""
    for i in named:
        if i not in ids:
            raise LabelsError(
                f"{setting}: found id {i}, need one of the prior's labels, such as {ids[1]}."
            )
