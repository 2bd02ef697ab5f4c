"""Training of the label autoencoder: kinds ae, vae and swae."""

from __future__ import annotations

import math

from torch import nn

from seg_prior.config.training import PriorConfig
from seg_prior.io.tables import read_table
from seg_prior.models.label_vae import LabelVAE, fit_residual_pca
from seg_prior.models.location import LocationPrior
from seg_prior.synthesis.anatomies import AlignedLabelMap, RandomAnatomies, some_cells
from seg_prior.training.curves import draw_log
from seg_prior.training.families import LOSSES
from seg_prior.training.loop import Run, train
from seg_prior.training.measure import measure
from seg_prior.training.prior import Anatomies, flat_maps

PAUSE = 5 / 6
"""Of the steps; in the rest, lent maps are trained in."""
_VALIDATION = "val_"


def train_autoencoder(
    config: PriorConfig, anatomies: Anatomies, location: LocationPrior, run: Run
) -> tuple[LabelVAE, dict[str, float]]:
    """A label autoencoder trained on random anatomies, and what `measure` last said of it.

    Where the held-out maps are lent, they are measured after PAUSE of the steps and make half of
    the anatomies of the rest: what was measured is a network that had not seen them.
    """
    network = LabelVAE(location, config.vae, is_variational=config.kind == "vae")
    if config.vae.detail_channels:
        maps = flat_maps(anatomies, location)
        network.init_detail(fit_residual_pca(location, maps, config.vae.detail_channels))
    optim = config.optim
    pause = max(1, math.floor(PAUSE * optim.steps)) if anatomies.is_lent else None
    dataset = RandomAnatomies(
        anatomies.training,
        anatomies.grid,
        location.voxels,
        anatomies.table.partner,
        config.augment,
        network.num_latents,
        config.seed,
        optim.steps * optim.batch_size,
        later=_evenly(anatomies) if anatomies.is_lent else None,
        since=(pause or 0) * optim.batch_size,
    )
    losses_of = LOSSES[config.kind]
    train(
        network,
        lambda model, batch, step: losses_of(
            model,
            location,
            batch,
            min(1.0, step / max(1, config.kl_warmup_steps)) ** 2,
            some_cells(location, config.decoded_share, config.seed, step),
        ),
        dataset,
        optim,
        run,
        lambda model: _validate(model, anatomies),
        pause,
    )
    marks = {} if config.kind == "ae" else {config.kl_warmup_steps: "ramp over: z counts fully"}
    draw_log(run.folder, marks | ({pause: "held-out maps are trained in"} if pause else {}))
    return network, _last_measured(run)


def _validate(model: nn.Module, anatomies: Anatomies) -> dict[str, float]:
    assert isinstance(model, LabelVAE)
    return {_VALIDATION + name: value for name, value in measure(model, anatomies).items()}


def _evenly(anatomies: Anatomies) -> list[AlignedLabelMap]:
    """Training maps and held-out maps, the fewer as often as makes them about as many."""
    times = max(1, round(len(anatomies.training) / len(anatomies.held_out)))
    return [*anatomies.training, *times * anatomies.held_out]


def _last_measured(run: Run) -> dict[str, float]:
    """Of the log, which outlives a stop: what `measure` said."""
    rows = read_table(run.folder / "log.csv")
    row = next(row for row in reversed(rows) if row.get("val_dice"))
    return {
        name.removeprefix(_VALIDATION): float(value)
        for name, value in row.items()
        if name.startswith(_VALIDATION) and value
    }
