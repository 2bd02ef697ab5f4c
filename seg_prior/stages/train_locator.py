"""`train-locator`: a prior and unlabelled scans in, the prior that finds its organ in such out.

The prior reads every scan as it does without a locator; a network learns from what it makes of
them, in random poses and intensities, to say the same at a glance. What went wrong in single scans,
such as an organ laid on a neighbour, is no rule that a network could learn, so it is outvoted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from seg_prior.checkpoint import save_model
from seg_prior.config import LocatorConfig, TrainLocatorConfig
from seg_prior.conform.resample import resample_mean, resample_observed
from seg_prior.errors import ConfigError, SegPriorError
from seg_prior.grid import Grid
from seg_prior.header import Header
from seg_prior.inference.sight import sight_grid
from seg_prior.models.locator import Locator
from seg_prior.report.curves import draw_log
from seg_prior.stages import runtime
from seg_prior.stages.inputs import find_images
from seg_prior.stages.segmentation import Segmentation
from seg_prior.stages.segmenter import Segmenter
from seg_prior.training.loop import Run, train
from seg_prior.training.seen_scans import RandomViews, SeenScan, with_background
from seg_prior.volume import read_volume

NUM_VOXELS = 400_000
"""Of the grid on which the median scan is seen: what a training step of a second can hold."""

_DICE_SLACK = 50.0  # voxels: a structure of a few must not sway the loss


def run(config: TrainLocatorConfig, show: Callable[[str], None] = print) -> Header:
    """Read every scan, train the network on that, write the checkpoint.

    Raises:
        SegPriorError: An input does not fit, or fewer than two scans could be read.
    """
    runtime.check_checkpoint_name(config.out)
    device = runtime.start(config)
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
    request = runtime.request_of(config) + model.sha256
    train(locator, losses_of, views, config.optim, Run(folder, device, config.quiet, request))
    draw_log(folder)
    header = model.header.model_copy(update={"locator": locator.config})
    header = runtime.signed(header, "train-locator", config, len(scans))
    if runtime.is_first_process():
        save_model(config.out, header, model.prior, model.image_encoder, locator)
        show(f"wrote {config.out} ({config.out.stat().st_size / 1e6:.1f} MB)")
    return header


def losses_of(network: nn.Module, batch: Any, step: int) -> Mapping[str, Tensor]:
    """Cross entropy with the posterior, per voxel of anatomy, and soft Dice over structures, of
    each scan.

    The cross entropy is KL(p(s | x) || q(s | x)) up to the posterior's own entropy; Dice keeps
    small structures from being given up for the background around them.
    """
    image, labels = batch
    in_view = image[:, 1:]
    log_prob = network(image)
    wanted, found = labels * in_view, log_prob.exp() * in_view
    anatomy = wanted[:, 1:].flatten(1).sum(1).clamp_min(_DICE_SLACK)
    cross_entropy = (-(wanted * log_prob).flatten(1).sum(1) / anatomy).mean()
    both = (wanted * found)[:, 1:].flatten(2).sum(2) + _DICE_SLACK
    either = (wanted + found)[:, 1:].flatten(2).sum(2) + 2 * _DICE_SLACK
    dice = (2 * both / either).mean()
    return {"loss": cross_entropy + 1 - dice, "cross_entropy": cross_entropy, "soft_dice": dice}


def propose_spacing_mm(grids: Sequence[Grid], prior_grid: Grid) -> float:
    """The finest spacing at which the median scan has `NUM_VOXELS`, and none below the prior's."""
    mm3 = [np.prod(grid.shape) * grid.voxel_volume_mm3 for grid in grids]
    finest = float(np.cbrt(np.median(mm3) / NUM_VOXELS))
    return max(finest, float(prior_grid.spacing_mm.min()))


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
