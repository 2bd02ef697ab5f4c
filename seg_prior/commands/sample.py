"""`sample`: a prior in, anatomies drawn from it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_prior.checkpoints.file import Model, load_model
from seg_prior.config.commands import SampleConfig
from seg_prior.core.device import start
from seg_prior.core.volume import Volume
from seg_prior.errors import ConfigError
from seg_prior.io.nifti import write_volume
from seg_prior.report.overlay import write_montage

NUM_SHOWN = 12
"""Draws on the picture; the others are files only."""


class SampleFiles(NamedTuple):
    """What `run` writes."""

    label_maps: tuple[Path, ...]
    picture: Path


def run(config: SampleConfig, show: Callable[[str], None] = print) -> SampleFiles:
    """Draw z from N(0, I), decode, and write the most probable label of every voxel.

    Raises:
        CheckpointError: Not a checkpoint of a prior that has a latent.
        ConfigError: `out` is a file.
    """
    files = plan(config)
    if config.out.is_file():
        raise ConfigError(f"{config.out}: found a file, need a folder to write to. Name another.")
    device = start(config)
    model = load_model(config.model, kinds=("prior", "model", "pca"))
    model.prior.to(device)
    header, table = model.header, model.header.label_table.written
    grid = Volume(np.zeros(header.shape, dtype=np.uint8), header.grid)
    shown: list[NDArray[np.uint8]] = []
    for z, path in zip(draws(model.prior.num_latents, config), files.label_maps, strict=True):
        indices = decode_label_map(model, z.to(device))
        write_volume(path, table.ids[indices], grid)
        if len(shown) < NUM_SHOWN:
            shown.append(indices)
    titles = [f"sample {number}" for number in range(1, len(shown) + 1)]
    write_montage(files.picture, shown, titles, header.grid, table)
    spacing_mm = header.grid.spacing_mm[0]
    show(f"{config.num} samples of {header.shape} voxels at {spacing_mm:.3g} mm in {config.out}")
    return files


def plan(config: SampleConfig) -> SampleFiles:
    """The files that `run` writes."""
    names = [f"sample-{number:03d}_dseg.nii.gz" for number in range(1, config.num + 1)]
    return SampleFiles(tuple(config.out / name for name in names), config.out / "samples.png")


def draws(num_latents: int, config: SampleConfig) -> Iterator[Tensor]:
    """(1, K) of N(0, I), one after the other, so that the first do not depend on how many."""
    generator = torch.Generator().manual_seed(config.seed)
    for _ in range(config.num):
        yield torch.randn(1, num_latents, generator=generator)


@torch.inference_mode()
def decode_label_map(model: Model, z: Tensor) -> NDArray[np.uint8]:
    """(1, K) -> (D, H, W) the likeliest label at every voxel of prior space, as results have it."""
    log_prior = model.location.log_by_group(model.prior.decode(z))
    best = log_prior.argmax(1, keepdim=True)  # (1, 1, V)
    grid = model.location.scatter(best.to(torch.uint8), 0)
    return np.asarray(grid[0, 0].cpu().numpy())
