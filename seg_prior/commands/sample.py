"""`sample`: a prior in, anatomies drawn from it out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from seg_prior.config.runtime import RuntimeConfig
from seg_prior.errors import ConfigError
from seg_prior.files import Files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from seg_prior.checkpoints.file import Model
    from seg_prior.models.prior import Prior

SUMMARY = "Draw anatomies from a prior."
EXAMPLE = "seg-prior sample prior.safetensors samples/ --num 6"
OPERANDS = "model out"
NUM_SHOWN = 12
"""Draws on the picture; the others are files only."""
log = logging.getLogger(__name__)


class Config(RuntimeConfig):
    """`sample`: a prior in, anatomies drawn from it out."""

    model: Path
    """Checkpoint of kind pca, ae, vae or swae."""
    out: Path
    """Folder for the label maps, on the prior grid, and a picture of them."""
    num: int = Field(default=6, ge=1, le=100_000)
    """How many to draw; the first ten of twenty are the ten one gets by asking for ten."""

    coarse: bool = False
    """The smooth part alone, which says where structures lie; without detail."""


class SampleFiles(NamedTuple):
    """What `run` writes."""

    label_maps: tuple[Path, ...]
    picture: Path


def files(config: Config) -> Files:
    """What `run` reads and writes."""
    written = plan(config)
    return Files([config.model], [*written.label_maps, written.picture])


def run(config: Config) -> SampleFiles:
    """Draw z from the prior's density, decode, and write a likely label map of each.

    Raises:
        CheckpointError: Not a checkpoint of a prior that has a latent.
        ConfigError: `out` is a file.
    """
    import numpy as np

    from seg_prior.checkpoints.file import load_model
    from seg_prior.core.device import start
    from seg_prior.core.volume import Volume
    from seg_prior.io.write import write_volume
    from seg_prior.report.overlay import write_montage

    written = plan(config)
    if config.out.is_file():
        raise ConfigError(f"{config.out}: found a file, need a folder to write to. Name another.")
    device = start(config)
    model = load_model(config.model, kinds=("pca", "ae", "vae", "swae"))
    model.prior.to(device)
    if not config.coarse and not has_agreeing_detail(model.prior):
        log.warning(
            "%s: the detail of each cell is drawn alone and borders are ragged: the model is of "
            "before details were learned together. Train it again, or ask for --coarse.",
            config.model,
        )
    header, table = model.header, model.header.label_table.written
    grid = Volume(np.zeros(header.shape, dtype=np.uint8), header.grid)
    shown: list[NDArray[np.uint8]] = []
    for z, path in zip(draws(model.prior, config), written.label_maps, strict=True):
        indices = model.prior.labels_of(z).cpu().numpy()
        write_volume(path, table.ids[indices], grid)
        if len(shown) < NUM_SHOWN:
            shown.append(indices)
    titles = [f"sample {number}" for number in range(1, len(shown) + 1)]
    write_montage(written.picture, shown, titles, header.grid, table)
    log.info(
        "%d samples of %s voxels at %.3g mm in %s",
        *(config.num, header.shape, header.grid.spacing_mm[0], config.out),
    )
    return written


def plan(config: Config) -> SampleFiles:
    """The files that `run` writes."""
    names = [f"sample-{number:03d}_dseg.nii.gz" for number in range(1, config.num + 1)]
    return SampleFiles(tuple(config.out / name for name in names), config.out / "samples.png")


def draws(prior: Prior, config: Config) -> Iterator[Tensor]:
    """(1, K) of p(z), one after the other, so that the first do not depend on how many."""
    import torch

    generator = torch.Generator().manual_seed(config.seed)
    for _ in range(config.num):
        yield prior.sample(generator, config.coarse)


def has_agreeing_detail(prior: Prior) -> bool:
    """Whether neighbouring cells draw detail that fits together, or none."""
    from seg_prior.models.label_vae import LabelVAE

    is_known = isinstance(prior, LabelVAE) and prior.detail_flow is not None
    return is_known or prior.num_coarse == prior.num_latents


def decode_label_map(model: Model, z: Tensor) -> NDArray[np.uint8]:
    """(1, K) -> (D, H, W) the likeliest label at every voxel of prior space, as results have it."""
    import torch

    with torch.inference_mode():
        log_prior = model.location.log_by_group(model.prior.decode(z))
        return model.location.map_of(log_prior).cpu().numpy()
