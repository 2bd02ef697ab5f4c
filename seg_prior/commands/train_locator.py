"""`train-locator`: a prior and unlabelled scans in, the prior that finds its organ in such out.

The prior reads every scan as it does without a locator; a network learns from what it makes of
them, in random poses and intensities, to say the same at a glance. What went wrong in single scans,
such as an organ laid on a neighbour, is no rule that a network could learn, so it is outvoted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from tqdm import tqdm

from seg_prior.api import Segmentation, Segmenter
from seg_prior.checkpoints.file import save_model
from seg_prior.checkpoints.header import Header
from seg_prior.checkpoints.provenance import check_checkpoint_name, request_of, signed
from seg_prior.config.commands import TrainLocatorConfig
from seg_prior.config.networks import LocatorConfig
from seg_prior.core.device import is_first_process, start
from seg_prior.core.grid import Grid
from seg_prior.errors import ConfigError, SegPriorError
from seg_prior.inference.locator_likelihood import sight_grid
from seg_prior.io.find import find_images
from seg_prior.io.nifti import read_volume
from seg_prior.models.locator import Locator
from seg_prior.registration.resample import resample_mean, resample_observed
from seg_prior.training.curves import draw_log
from seg_prior.training.locator import propose_spacing_mm
from seg_prior.training.locator_dataset import RandomViews, SeenScan, with_background
from seg_prior.training.loop import Run, train
from seg_prior.training.losses import locator_losses


def run(config: TrainLocatorConfig, show: Callable[[str], None] = print) -> Header:
    """Read every scan, train the network on that, write the checkpoint.

    Raises:
        SegPriorError: An input does not fit, or fewer than two scans could be read.
    """
    check_checkpoint_name(config.out)
    device = start(config)
    teacher = Segmenter.load(
        config.prior, device=config.device, threads=config.threads, seed=config.seed
    )
    model = teacher.model
    if model.header.pose_prior is None:
        raise ConfigError(
            f"{config.prior}: found a prior of scans in any pose, need one of scans cut like the "
            "label maps. Train it with --pose as_maps; others are registered by their outline."
        )
    if model.locator is not None:
        raise ConfigError(
            f"{config.prior}: found a prior that has a locator, need one without, which reads "
            "scans by their own evidence. Name the one that it was trained from."
        )
    grids = _grids(config, show)
    spacing_mm = config.spacing_mm or propose_spacing_mm([*grids.values()], model.header.grid)
    scans = []
    for path in tqdm(grids, desc="read", disable=True if config.quiet else None):
        try:
            scans.append(_seen(teacher.segment(path), spacing_mm))
        except SegPriorError as error:
            show(f"left out: {error}")
    if len(scans) < 2:
        raise ConfigError(f"images: found {len(scans)} scans that can be read, need two or more.")
    show(f"read {len(scans)} scans; the locator sees them at {spacing_mm:.3g} mm")
    torch.manual_seed(config.seed)
    locator = Locator(len(teacher.label_table), LocatorConfig(spacing_mm=spacing_mm))
    views = RandomViews(scans, config.seed, config.optim.steps * config.optim.batch_size)
    folder = config.out.with_suffix("")
    request = request_of(config) + model.sha256
    train(locator, locator_losses, views, config.optim, Run(folder, device, config.quiet, request))
    draw_log(folder)
    header = model.header.model_copy(update={"locator": locator.config})
    header = signed(header, "train-locator", config, len(scans))
    if is_first_process():
        save_model(config.out, header, model.prior, model.image_encoder, locator)
        show(f"wrote {config.out} ({config.out.stat().st_size / 1e6:.1f} MB)")
    return header


def _grids(config: TrainLocatorConfig, show: Callable[[str], None]) -> dict[Path, Grid]:
    """The grids of the scans that can be read."""
    grids = {}
    for path in find_images(config.images):
        try:
            grids[path] = read_volume(path).grid
        except SegPriorError as error:
            show(f"left out: {error}")
    if not grids:
        raise ConfigError("images: found none that can be read, need two or more.")
    return grids


def _seen(read: Segmentation, spacing_mm: float) -> SeenScan:
    """A scan and its posterior on the grid that the network sees it on."""
    grid = read.volume.grid
    seen_on = sight_grid(grid, spacing_mm)
    conformed = read.conformed
    pair = torch.stack([conformed.native[0], conformed.native_observed[0].float()])
    each = (resample_mean(torch.from_numpy(p)[None], grid, seen_on) for p in read.posteriors())
    labels = with_background(torch.cat(list(each)))
    return SeenScan(resample_observed(pair, grid, seen_on).half(), labels.half())
