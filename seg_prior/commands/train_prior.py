"""`train-prior`: label maps in, an anatomical prior out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seg_prior.checkpoints.file import save_model
from seg_prior.checkpoints.header import FORMAT_VERSION, Header, Kind
from seg_prior.checkpoints.provenance import check_checkpoint_name, provenance, settings_of
from seg_prior.config.commands import TrainPriorConfig
from seg_prior.core.device import is_first_process, start
from seg_prior.core.pose_prior import PosePrior
from seg_prior.errors import ConfigError
from seg_prior.io.find import person_of
from seg_prior.models.label_vae import LabelVAE
from seg_prior.models.linear import LinearPrior, fit_atlas, fit_components
from seg_prior.registration.pose_search import fit_pose
from seg_prior.training.prior import Anatomies, align, fit_location, measure, soft_maps, train_vae

FEW_PEOPLE = 3
"""Label maps of fewer subjects than this show no population."""
COLLAPSED_SHARE = 0.01
"""A prior that uses a smaller share of its dimensions has collapsed."""


def run(config: TrainPriorConfig, show: Callable[[str], None] = print) -> Header:
    """Align the label maps, fit or train the prior, measure it on held-out maps, write it.

    Raises:
        ImageError, LabelsError, ConfigError: An input does not fit.
    """
    check_checkpoint_name(config.out)
    device = start(config)
    anatomies = align(config)
    views = len(anatomies.training) * (2 if anatomies.table.has_sides else 1)
    if config.kind == "pca" and config.num_components >= views:
        raise ConfigError(
            f"num_components: found {config.num_components}, need fewer than the {views} label "
            "maps and mirror images."
        )
    show(
        f"{len(anatomies.training)} label maps, {len(anatomies.held_out)} held out, "
        f"{len(anatomies.table)} labels; prior space {anatomies.grid.shape} at "
        f"{anatomies.grid.spacing_mm[0]:.3g} mm; "
        f"centroids {np.mean(anatomies.residual_mm):.2g} mm apart"
    )
    people = {person_of(Path(name)) for name in anatomies.names}
    if len(people) < FEW_PEOPLE:
        show(
            f"WARNING: label maps of {len(people)} {'subject' if len(people) == 1 else 'subjects'} "
            "alone: how others differ cannot be learned from them. Add label maps."
        )
    location = fit_location(anatomies)
    prior: LabelVAE | LinearPrior
    if config.kind == "vae":
        prior = train_vae(config, anatomies, location, device)
    elif config.kind == "pca":
        prior = fit_components(location, soft_maps(anatomies, location), config.num_components)
    else:
        prior = fit_atlas(location)
    prior = prior.to("cpu").eval()
    report = measure(prior, anatomies, fit_atlas(location))
    for line in describe(report):
        show(line)
    header = _header(config, anatomies, report)
    if is_first_process():
        save_model(config.out, header, prior, None)
        show(f"wrote {config.out} ({config.out.stat().st_size / 1e6:.1f} MB)")
    return header


def describe(report: Mapping[str, Any]) -> list[str]:
    """What a person should know of `measure`'s report, collapse included."""
    lines = [
        f"reconstruction of {report['num_subjects']} {report['subjects']} maps: Dice "
        f"{report['dice']:.3f} (atlas {report['atlas_dice']:.3f}), {report['nll']:.3f} nats/voxel"
    ]
    if report["num_latents"]:
        lines.append(
            f"latent: {report['active_units']} of {report['num_latents']} dimensions in use, "
            f"KL {report['kl']:.0f} nats"
        )
    if report["active_units"] < COLLAPSED_SHARE * report["num_latents"]:
        lines.append(
            "WARNING: the latent has collapsed: the decoder ignores it. "
            "Train longer, or raise --kl-warmup-steps."
        )
    return lines


def _pose_prior(anatomies: Anatomies) -> PosePrior:
    maps = anatomies.training
    return fit_pose(
        [m.prior_from_native for m in maps], [m.grid for m in maps], anatomies.radius_mm
    )


def _header(config: TrainPriorConfig, anatomies: Anatomies, report: dict[str, Any]) -> Header:
    kinds: dict[str, Kind] = {"vae": "prior", "pca": "pca", "atlas": "atlas"}
    grid = anatomies.grid
    return Header(
        format_version=FORMAT_VERSION,
        kind=kinds[config.kind],
        shape=grid.shape,
        affine=tuple(tuple(float(v) for v in row) for row in grid.affine),
        label_table=anatomies.table,
        intensity=config.intensity,
        vae=config.vae if config.kind == "vae" else None,
        pose_prior=_pose_prior(anatomies) if config.pose == "as_maps" else None,
        training={"train-prior": settings_of(config)},
        provenance=provenance() | {"subjects": list(anatomies.names)},
        reference={"prior": report},
    )
