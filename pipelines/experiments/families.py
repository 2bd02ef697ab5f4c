"""Families of priors side by side: trained alike, measured on the same unseen subjects."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.config import FamiliesConfig
from seg_prior.api import Segmentation, Segmenter
from seg_prior.checkpoints.file import Model, load_model, save_model
from seg_prior.cli.settings import resolve
from seg_prior.commands import train_prior
from seg_prior.commands.train_prior import Config as TrainPriorConfig
from seg_prior.evaluation.dice_table import dice_of_structures, mean_dice, mean_sd_n
from seg_prior.files import write_json
from seg_prior.io.find import find_images, find_label_maps, participant_of
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.metrics.overlap import dice_by_id, nan_mean
from seg_prior.models.density_fit import fit_density
from seg_prior.models.label_vae import one_hot
from seg_prior.models.objective import log_prob_of_labels
from seg_prior.models.prior import Prior
from seg_prior.planning.subjects import divide
from seg_prior.registration.pipeline import RegisteredScan, register_scan
from seg_prior.synthesis.anatomies import sample_labels
from seg_prior.training.align import align_label_maps
from seg_prior.training.neighbours import fit_neighbours
from seg_prior.training.prior import align, codes_of, flat_maps

BATCH = 4
"""Of kind swae, in a quarter of the steps: all networks see as many anatomies."""
KINDS = ("atlas", "pca", "ae", "vae", "swae")
log = logging.getLogger("seg_prior.pipelines")


def unseen(config: FamiliesConfig) -> list[Path]:
    """Label maps of the subjects whom no prior sees."""
    maps = find_label_maps([config.data / config.maps])
    return [path for path in maps if participant_of(path) in config.holdout]


def scans(config: FamiliesConfig) -> list[tuple[Path, Path]]:
    """Scans that are segmented, each with its label map."""
    images = find_images([config.data / config.images])
    references = find_label_maps([config.data / config.references])
    subjects = divide(images, references, (1, 0, 0), config.scored or config.holdout)
    return list(zip(subjects.scored, subjects.references, strict=True))


def settings_of(config: FamiliesConfig, kind: str) -> TrainPriorConfig:
    """What `train-prior` is asked."""
    asked = config.prior | {
        "labels": [config.data / config.maps],
        "out": config.out / f"{kind}.safetensors",
        "kind": kind,
        "holdout": config.holdout,
        "threads": config.threads,
        "seed": config.seed,
        "device": config.device,
    }
    settings = resolve(TrainPriorConfig, config.base, asked)
    if kind != "swae":
        return settings
    optim = settings.optim
    fewer = {"batch_size": BATCH, "steps": optim.steps // BATCH}
    fewer |= {"warmup_steps": max(1, optim.warmup_steps // BATCH)}
    return settings.model_copy(
        update={
            "optim": optim.model_copy(update=fewer),
            "kl_warmup_steps": max(1, settings.kl_warmup_steps // BATCH),
        }
    )


def train(config: FamiliesConfig) -> dict[str, float]:
    """Train what is missing; kind -> CPU minutes."""
    path = config.out / "family_minutes.json"
    minutes: dict[str, float] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for kind in KINDS:
        if kind not in minutes:
            begin = time.process_time()
            train_prior.run(settings_of(config, kind))
            minutes[kind] = (time.process_time() - begin) / 60
            write_json(path, minutes)
    return minutes


def give_densities(config: FamiliesConfig) -> None:
    """Write the copies of checkpoints that are missing, whose density of z is another.

    All kinds align label maps alike, which is done once.
    """
    missing = [path for path in models(config) if not path.exists()]
    if not missing:
        return
    settings = settings_of(config, "pca")
    anatomies = align(settings.labels, settings.label_table, settings)
    for kind, of_kind in groupby(missing, lambda path: path.stem.split("-")[0]):
        model = load_model(config.out / f"{kind}.safetensors")
        codes = codes_of(model.prior, anatomies, config.seed)
        maps = flat_maps(anatomies, model.location)
        for out in of_kind:
            density = out.stem.split("-")[1]
            model.prior.density, told = fit_density(density, codes, is_standard=kind != "ae")
            log.info("%s %s: %s", kind, density, told)
            fit_neighbours(model.prior, maps, config.seed)
            save_model(out, model.header.model_copy(update={"density": density}), model.prior)


def models(config: FamiliesConfig) -> list[Path]:
    """Checkpoints of the table, row by row."""
    found = []
    for kind in KINDS:
        found.append(config.out / f"{kind}.safetensors")
        if kind != "atlas":
            found += [config.out / f"{kind}-{name}.safetensors" for name in ("mixture", "kde")]
    return found


def score(config: FamiliesConfig, path: Path) -> dict[str, Any]:
    """What the table says of a checkpoint; kept beside it.

    Of every unseen label map `dice` and `nats`; with a normal density `segmented` of every scan.
    """
    kept = path.with_suffix(".scores.json")
    if kept.exists():
        return dict(json.loads(kept.read_text("utf-8")))
    segmenter = Segmenter.load(path, threads=config.threads, refine="full", seed=config.seed)
    model = segmenter.model
    maps = [sample_labels(m, model.header.grid) for m in align_label_maps(unseen(config), model)]
    rows = [of_label_map(model, label_map, n) for n, label_map in enumerate(maps)]
    cell: dict[str, Any] = {"kind": model.header.kind, "density": model.header.density}
    cell |= {name: [row[name] for row in rows] for name in rows[0]}
    if cell["density"] == "normal":
        cell["segmented"] = [_segmented(config, segmenter, *pair) for pair in scans(config)]
    write_json(kept, cell)
    log.info("%s: %s", path.stem, cell)
    return cell


def of_label_map(model: Model, label_map: Tensor, seed: int) -> dict[str, float]:
    """Dice of the reconstruction of a (D, H, W) label map in prior space, and `nats_a_voxel`."""
    location, prior = model.location, model.prior
    labels = label_map.flatten()[location.voxels]
    known = location.group_of_label[labels.long()]
    with torch.inference_mode():
        mean, log_var = prior.encode(one_hot(labels[None], len(model.header.label_table)))
        best = location.log_by_group(prior.decode(mean))[0].argmax(0)
        found = dice_by_id(best.numpy(), known.numpy())
        nats = nats_a_voxel(prior, known, mean, log_var, seed)
    is_structure = model.header.label_table.written.is_structure
    return {
        "dice": nan_mean([value for index, value in found.items() if is_structure[index]]),
        "nats": nats,
    }


def nats_a_voxel(prior: Prior, known: Tensor, mean: Tensor, log_var: Tensor, seed: int) -> float:
    """-log p(s | z) p(z) / q(z | s) at one draw of q, over the voxels: an upper bound on average.

    Args:
        prior: Of any family.
        known: (V,) groups of labels.
        mean, log_var: (1, K) of q; a point has no density, and the result is nan.
        seed: Of the draw.
    """
    if torch.isinf(log_var).any():
        return math.nan
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed))
    z = mean + torch.exp(log_var / 2) * noise
    log_q = -0.5 * (noise.square() + log_var).sum(1)  # both without -K/2 log 2 pi
    log_labels = log_prob_of_labels(prior.location.log_by_group(prior.decode(z)), known[None])
    return -float(log_labels + prior.log_prob(z) - log_q) / known.numel()


def table(cells: Sequence[Mapping[str, Any]], minutes: Mapping[str, float]) -> str:
    """Markdown, one row a checkpoint."""
    head = [
        "| family | density | reconstruction, Dice | nats a voxel | segmentation, Dice | CPU min |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *_rows(cells, minutes)]) + "\n"


def _rows(cells: Sequence[Mapping[str, Any]], minutes: Mapping[str, float]) -> Iterator[str]:
    for cell in cells:
        kind, is_first = cell["kind"], cell["density"] == "normal"
        columns = [
            kind,
            "-" if kind == "atlas" else cell["density"],
            mean_sd_n(cell["dice"]) if is_first else "same",
            "-" if math.isnan(cell["nats"][0]) else mean_sd_n(cell["nats"]),
            mean_sd_n(cell["segmented"]) if is_first else "-",
            f"{minutes[kind]:.1f}" if is_first else "-",
        ]
        yield f"| {' | '.join(columns)} |"


def _segmented(config: FamiliesConfig, segmenter: Segmenter, image: Path, reference: Path) -> float:
    """Mean Dice of a scan, registered once for all priors, which share their prior space."""
    volume, known = read_volume(image), read_label_map(reference)
    result = Segmentation.of(segmenter, volume, (), _registered(config, image), {})
    labels = segmenter.label_table
    truth = labels.remap(known.data, known.source)
    found = labels.remap(result.label_map, image.name)
    return mean_dice(dice_of_structures(found, truth, labels), labels)


_REGISTERED: dict[Path, RegisteredScan] = {}


def _registered(config: FamiliesConfig, image: Path) -> RegisteredScan:
    """By the atlas."""
    if image not in _REGISTERED:
        atlas = Segmenter.load(config.out / "atlas.safetensors", threads=config.threads)
        _REGISTERED[image] = register_scan([read_volume(image)], atlas.atlas, config.seed)
    return _REGISTERED[image]
