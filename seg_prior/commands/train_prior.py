"""`train-prior`: label maps in, an anatomical prior out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_prior.config.training import PriorConfig
from seg_prior.errors import ConfigError
from seg_prior.files import Files

if TYPE_CHECKING:
    from seg_prior.checkpoints.header import Header
    from seg_prior.checkpoints.request import Request
    from seg_prior.core.pose_prior import PosePrior
    from seg_prior.models.prior import Prior
    from seg_prior.training.prior import Anatomies

SUMMARY = "Learn an anatomical prior from label maps."
EXAMPLE = "seg-prior train-prior maps/ --label-table labels.tsv --out prior.safetensors"
OPERANDS = "labels..."
FEW_PEOPLE = 3
"""Label maps of fewer subjects than this show no population."""
COLLAPSED_SHARE = 0.01
"""A prior that uses a smaller share of its dimensions has collapsed."""
log = logging.getLogger(__name__)


class Config(PriorConfig):
    """`train-prior`: label maps in, an anatomical prior out."""

    labels: list[Path]
    """Label maps: files, folders, patterns or .txt lists."""
    out: Path
    """Checkpoint to write; logs and resume state go to a folder beside it."""
    label_table: Path | None = None
    """Tab-separated id, name, scored_as, intensity_class[, partner], or a BIDS dseg.tsv, or a
    FreeSurfer color table; without one every id is a label of its own."""


def files(config: Config) -> Files:
    """What `run` reads and writes."""
    from seg_prior.checkpoints.provenance import training_files
    from seg_prior.io.find import find_label_maps

    reads = find_label_maps(config.labels) + ([config.label_table] if config.label_table else [])
    logs = training_files(config.out.with_suffix("")) if config.kind == "vae" else []
    return Files(reads, [*logs, config.out], signed=[config.out])


def run(config: Config) -> Header:
    """Align the label maps, fit or train the prior, measure it on held-out maps, write it.

    Raises:
        ImageError, LabelsError, ConfigError: An input does not fit.
    """
    import numpy as np

    from seg_prior.checkpoints.file import save_model
    from seg_prior.checkpoints.header import read_header
    from seg_prior.checkpoints.provenance import check_checkpoint_name
    from seg_prior.checkpoints.request import Request, is_trained
    from seg_prior.core.device import is_first_process, start
    from seg_prior.io.find import participant_of
    from seg_prior.models.linear import fit_atlas, fit_components
    from seg_prior.training.loop import Run, forget
    from seg_prior.training.prior import align, fit_location, measure, soft_maps, train_vae

    check_checkpoint_name(config.out)
    request = Request.of(config, files(config).reads)
    if is_trained(config.out, "train-prior", request):
        log.info("%s is finished, of the same label maps and settings", config.out)
        return read_header(config.out)
    device = start(config)
    anatomies = align(config.labels, config.label_table, config)
    views = len(anatomies.training) * (2 if anatomies.table.has_sides else 1)
    if config.kind == "pca" and config.num_components >= views:
        raise ConfigError(
            f"num_components: found {config.num_components}, need fewer than the {views} label "
            "maps and mirror images."
        )
    log.info(
        f"{len(anatomies.training)} label maps, {len(anatomies.held_out)} held out, "
        f"{len(anatomies.table)} labels; prior space {anatomies.grid.shape} at "
        f"{anatomies.grid.spacing_mm[0]:.3g} mm; "
        f"centroids {np.mean(anatomies.residual_mm):.2g} mm apart"
    )
    for remark in anatomies.remarks:
        log.warning("%s", remark)
    people = {participant_of(Path(name)) for name in anatomies.names}
    if len(people) < FEW_PEOPLE:
        log.warning(
            f"label maps of {len(people)} {'subject' if len(people) == 1 else 'subjects'} "
            "alone: how others differ cannot be learned from them. Add label maps."
        )
    location = fit_location(anatomies)
    prior: Prior
    if config.kind == "vae":
        folder = config.out.with_suffix("")
        run_of = Run(folder, device, request)
        prior = train_vae(config, anatomies, location, run_of)
    elif config.kind == "pca":
        prior = fit_components(location, soft_maps(anatomies, location), config.num_components)
    else:
        prior = fit_atlas(location)
    prior = prior.to("cpu").eval()
    report = measure(prior, anatomies, fit_atlas(location))
    for line in describe(report):
        log.info(line)
    if report["active_units"] < COLLAPSED_SHARE * report["num_latents"]:
        log.warning(
            "the latent has collapsed: the decoder ignores it. "
            "Train longer, or raise --kl-warmup-steps."
        )
    header = _header(config, anatomies, report, request)
    if is_first_process():
        save_model(config.out, header, prior, None)
        forget(config.out.with_suffix(""))
        log.info("wrote %s (%.1f MB)", config.out, config.out.stat().st_size / 1e6)
    return header


def describe(report: Mapping[str, Any]) -> list[str]:
    """What a person should know of `measure`'s report."""
    lines = [
        f"reconstruction of {report['num_subjects']} {report['subjects']} maps: Dice "
        f"{report['dice']:.3f} (atlas {report['atlas_dice']:.3f}), {report['nll']:.3f} nats/voxel"
    ]
    if report["num_latents"]:
        lines.append(
            f"latent: {report['active_units']} of {report['num_latents']} dimensions in use, "
            f"KL {report['kl']:.0f} nats"
        )
    return lines


def _pose_prior(anatomies: Anatomies) -> PosePrior:
    from seg_prior.registration.pose_search import fit_pose

    maps = anatomies.training
    return fit_pose(
        [m.prior_from_native for m in maps], [m.grid for m in maps], anatomies.radius_mm
    )


def _header(
    config: Config, anatomies: Anatomies, report: dict[str, Any], request: Request
) -> Header:
    from seg_prior.checkpoints.header import FORMAT_VERSION, Header
    from seg_prior.checkpoints.provenance import provenance, settings_of

    grid = anatomies.grid
    return Header(
        format_version=FORMAT_VERSION,
        kind=config.kind,
        shape=grid.shape,
        affine=tuple(tuple(float(v) for v in row) for row in grid.affine),
        label_table=anatomies.table,
        intensity=config.intensity,
        vae=config.vae if config.kind == "vae" else None,
        pose_prior=_pose_prior(anatomies) if config.pose == "as_maps" else None,
        training={"train-prior": settings_of(config)},
        provenance=provenance() | {"subjects": list(anatomies.names), "request": request.record()},
        reference={"prior": report},
    )
