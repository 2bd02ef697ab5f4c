"""A short training of the toy prior, to be run by one process or by several under torchrun.

Usage: python -m tests.training.two_processes FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import torch

from seg_prior.config.optim import OptimConfig
from seg_prior.config.synthesis import AugmentConfig
from seg_prior.models.label_vae import LabelVAE
from seg_prior.synthesis.anatomies import AlignedLabelMap, RandomAnatomies
from seg_prior.training.families import LOSSES
from seg_prior.training.loop import Run, train
from tests.models import toy

OPTIM = OptimConfig(
    steps=6,
    batch_size=2,
    learning_rate=3e-3,
    warmup_steps=2,
    precision="32-true",
    num_workers=0,
    log_every=2,
    validate_every=3,
    save_every=2,
)


def new_vae() -> LabelVAE:
    """The same weights at every call."""
    torch.manual_seed(0)
    return LabelVAE(toy.location(), toy.TINY)


def anatomies(vae: LabelVAE, config: OptimConfig = OPTIM) -> RandomAnatomies:
    """As many augmented toys as the training draws."""
    maps = [AlignedLabelMap(m, toy.grid(), np.eye(4)) for m in toy.label_maps()]
    return RandomAnatomies(
        maps,
        toy.grid(),
        vae.location.voxels,
        toy.table().partner,
        AugmentConfig(warp_sd_mm=(2.0, 1.0)),
        vae.num_latents,
        seed=0,
        length=config.steps * config.batch_size,
    )


def main(folder: Path) -> None:
    """Train from the start; `last.pt` and `log.csv` stay in the folder."""
    torch.set_num_threads(1)
    vae = new_vae()
    train(
        vae,
        lambda model, batch, step: LOSSES["vae"](model, toy.location(), batch, 0.1),
        anatomies(vae),
        OPTIM,
        Run(folder, "cpu"),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
