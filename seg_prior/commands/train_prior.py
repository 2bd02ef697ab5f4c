"""`train-prior`: label maps in, an anatomical prior out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
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
    from seg_prior.training.loop import Run
    from seg_prior.training.prior import Anatomies

SUMMARY = "Learn an anatomical prior from label maps."
EXAMPLE = "seg-prior train-prior maps/ --label-table labels.tsv --out prior.safetensors"
OPERANDS = "labels..."
FEW_PEOPLE = 3
"""Label maps of fewer subjects than this show no population."""
NETWORKS = ("ae", "vae", "swae")
"""Kinds that are trained and leave a log."""
LEAST_BATCH = 4
"""Codes in a process of kind swae."""
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
    logs = [file for folder in folders(config) for file in training_files(folder)]
    return Files(reads, logs, signed=[config.out])


def run(config: Config) -> Header:
    """Align the label maps, fit or train the prior, measure it on held-out maps, write it.

    Raises:
        ImageError, LabelsError, ConfigError: An input does not fit.
    """
    from seg_prior.checkpoints.file import save_model
    from seg_prior.checkpoints.header import read_header
    from seg_prior.checkpoints.provenance import check_checkpoint_name
    from seg_prior.checkpoints.request import Request, is_trained
    from seg_prior.core.device import is_first_process, start
    from seg_prior.training.loop import Run, forget
    from seg_prior.training.measure import describe, warnings_of
    from seg_prior.training.prior import align

    check_checkpoint_name(config.out)
    _check_kind(config)
    request = Request.of(config, files(config).reads)
    if is_trained(config.out, "train-prior", request):
        log.info("%s is finished, of the same label maps and settings", config.out)
        return read_header(config.out)
    device = start(config)
    anatomies = align(config.labels, config.label_table, config)
    _check_numbers(config, anatomies)
    _introduce(anatomies)
    prior, report = _learn(config, anatomies, Run(config.out.with_suffix(""), device, request))
    for line in describe(report):
        log.info(line)
    for line in warnings_of(report):
        log.warning(line)
    header = _header(config, anatomies.together(), report, request)
    if is_first_process():
        save_model(config.out, header, prior, None)
        forget(config.out.with_suffix(""))
        forget(detail_folder(config))
        log.info("wrote %s (%.1f MB)", config.out, config.out.stat().st_size / 1e6)
    return header


def _learn(config: Config, anatomies: Anatomies, run: Run) -> tuple[Prior, dict[str, Any]]:
    """The prior with its density, on the CPU, and what is told of it."""
    from seg_prior.models.density_fit import fit_density
    from seg_prior.training.autoencoder import train_autoencoder
    from seg_prior.training.draws import fit_draws
    from seg_prior.training.measure import measure
    from seg_prior.training.neighbours import fit_neighbours
    from seg_prior.training.prior import (
        codes_of,
        fit_linear,
        fit_location,
        flat_maps,
        people_of_views,
    )

    prior: Prior
    if config.kind not in NETWORKS:
        prior = fit_linear(config, anatomies)
        measured = measure(prior, anatomies)
        if anatomies.is_lent:
            prior = fit_linear(config, anatomies.together())
    else:
        prior, measured = train_autoencoder(config, anatomies, fit_location(anatomies), run)
        whole = anatomies.together()
        maps, people = flat_maps(whole, prior.location), people_of_views(whole)
        in_folder = replace(run, folder=detail_folder(config))
        fit_draws(prior, maps, people, config.detail_steps, config.seed, in_folder)
    prior = prior.to("cpu").eval()
    report: dict[str, Any] = measured | {
        "subjects": "held out" if anatomies.held_out else "training",
        "num_subjects": len(anatomies.held_out or anatomies.training),
        "is_trained_in": anatomies.is_lent,
        "num_latents": prior.num_latents,
    }
    if config.kind == "ae" or config.density != "normal":
        codes = codes_of(prior, anatomies.together(), config.seed)
        prior.density, told = fit_density(config.density, codes, config.kind != "ae")
        report["density"] = told
        log.info("density %s: %s", config.density, _spelt(told))
    if prior.num_latents:
        fit_neighbours(prior, flat_maps(anatomies.together(), prior.location), config.seed)
    return prior, report


def folders(config: Config) -> list[Path]:
    """In which trainings leave their logs."""
    of_prior = [config.out.with_suffix("")] if config.kind in NETWORKS else []
    return [*of_prior, *([detail_folder(config)] if has_detail(config) else [])]


def has_detail(config: Config) -> bool:
    """Whether it is learned how the details of cells go together."""
    return config.kind in NETWORKS and config.vae.detail_channels > 0 and config.detail_steps > 0


def detail_folder(config: Config) -> Path:
    """Logs and resume state of that."""
    return config.out.with_suffix("") / "detail"


def _check_kind(config: Config) -> None:
    """What kinds do not go with, told before any work.

    Raises:
        ConfigError: A density of an atlas, or too few codes in a batch to lie as N(0, I).
    """
    from seg_prior.core.device import num_processes

    if config.kind == "atlas" and config.density != "normal":
        raise ConfigError(
            f"density: found '{config.density}' of kind atlas, which has no latent. Leave out "
            "--density, or choose another --kind."
        )
    processes = num_processes()
    if config.kind == "swae" and config.optim.batch_size < LEAST_BATCH * processes:
        raise ConfigError(
            f"optim.batch_size: found {config.optim.batch_size}, need {LEAST_BATCH * processes} or "
            "more of kind swae, which compares the codes of a batch with N(0, I). Say "
            f"--optim.batch-size {8 * processes}, and an eighth of the steps for the same time."
        )


def _check_numbers(config: Config, anatomies: Anatomies) -> None:
    """Whether there are maps enough, told before the long work.

    Raises:
        ConfigError: Too few for so many components, or for others to be left out of a density.
    """
    from seg_prior.models.density_fit import check_people

    whole = anatomies.together()
    views = len(whole.training) * (2 if whole.table.has_sides else 1)
    if config.kind == "pca" and config.num_components >= views:
        raise ConfigError(
            f"num_components: found {config.num_components}, need fewer than the {views} label "
            "maps and mirror images."
        )
    if config.density != "normal":
        check_people(config.density, _people(whole))


def _introduce(anatomies: Anatomies) -> None:
    """Say what was found, and who is held out for how long."""
    import numpy as np

    log.info(
        f"{len(anatomies.together().training)} label maps, {len(anatomies.held_out)} held out"
        f"{' until they are measured' if anatomies.is_lent else ''}, "
        f"{len(anatomies.table)} labels; prior space {anatomies.grid.shape} at "
        f"{anatomies.grid.spacing_mm[0]:.3g} mm; "
        f"centroids {np.mean(anatomies.residual_mm):.2g} mm apart"
    )
    for remark in anatomies.remarks:
        log.warning("%s", remark)
    people = _people(anatomies)
    if len(people) < FEW_PEOPLE:
        log.warning(
            f"label maps of {len(people)} {'subject' if len(people) == 1 else 'subjects'} "
            "alone: how others differ cannot be learned from them. Add label maps."
        )
    if not anatomies.held_out:
        log.info("nobody is held out: reconstruction is that of the training maps themselves")


def _people(anatomies: Anatomies) -> set[str]:
    from seg_prior.io.find import participant_of

    return {participant_of(Path(name)) for name in anatomies.names}


def _spelt(told: Mapping[str, float]) -> str:
    """What `fit_density` tells, for people."""
    if not told:
        return "mean and deviation of each number of the training maps' codes"
    width = f", {told['bandwidth']:.2g} deviations wide" if "bandwidth" in told else ""
    return (
        f"{told['components']:.0f} components along {told['directions']:.0f} directions{width}; "
        f"people left out gain {told['gain_nats']:+.2f} nats over N(0, I)"
    )


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
        density=config.density,
        shape=grid.shape,
        affine=tuple(tuple(float(v) for v in row) for row in grid.affine),
        label_table=anatomies.table,
        intensity=config.intensity,
        vae=config.vae if config.kind in NETWORKS else None,
        pose_prior=_pose_prior(anatomies) if config.pose == "as_maps" else None,
        training={"train-prior": settings_of(config)},
        provenance=provenance() | {"subjects": list(anatomies.names), "request": request.record()},
        reference={"prior": report},
    )
