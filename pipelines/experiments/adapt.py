"""The settings of every step from a data set to its page, proposed from what the data are."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from experiments.config import AdaptConfig, BenchmarkConfig
from experiments.dataset import Dataset
from seg_prior.api import Segmenter
from seg_prior.checkpoints.file import load_model, save_model
from seg_prior.cli.settings import resolve
from seg_prior.commands import (
    check,
    train_locator,
    train_prior,
)
from seg_prior.commands.check import Config as CheckConfig
from seg_prior.commands.check import Report
from seg_prior.commands.train_locator import Config as TrainLocatorConfig
from seg_prior.commands.train_prior import Config as TrainPriorConfig
from seg_prior.core.device import start
from seg_prior.files import atomic_write
from seg_prior.planning.check import write_proposal
from seg_prior.planning.proposal import propose_intensity

log = logging.getLogger("seg_prior.pipelines")

METHODS: list[dict[str, Any]] = [
    {"name": "Gaussian mixture"},
    {"name": "atlas argmax", "model": "atlas.safetensors", "segment": {"output": "prior"}},
    {"name": "atlas + EM", "model": "atlas.safetensors"},
    {"name": "PCA + refinement", "model": "pca.safetensors"},
]


LOCATED, LOCATED_ATLAS = "located.safetensors", "located_atlas.safetensors"


def look(config: AdaptConfig, dataset: Dataset) -> Report:
    """`check` on the label maps to learn from and the unlabelled images."""
    request = CheckConfig(
        labels=list(dataset.maps), images=list(dataset.images), out=config.out / "check"
    )
    report = check.run(request)
    with atomic_write(config.out / "check" / "findings.txt") as temporary:
        temporary.write_text("\n".join(report.lines) + "\n", "utf-8")
    return report


def train(config: AdaptConfig, dataset: Dataset, report: Report) -> None:
    """An atlas to choose the Gaussians with, then every model; what exists stays."""
    common = {"threads": config.threads, "seed": config.seed, "device": config.device}
    ends = {"labels": list(dataset.maps), "out": config.out}
    # Others are scored.
    asked = {"holdout_share": 0} | config.prior | common | ends
    prior, first = config.out / "prior.yaml", config.out / "first_atlas.safetensors"
    if not prior.exists():
        settings = resolve(TrainPriorConfig, report.prior, asked)
        train_prior.run(settings.model_copy(update={"kind": "atlas", "out": first}))
        segmenter = Segmenter.load(first, device=start(config))
        intensity = propose_intensity(segmenter, dataset.images)
        write_proposal(prior, report.table, report.proposal | {"intensity": intensity})
    settings = resolve(TrainPriorConfig, prior, asked)
    for kind in ("atlas", "pca", "vae"):
        out = config.out / f"{kind}.safetensors"
        if not out.exists():
            with _timed(config, kind):
                train_prior.run(settings.model_copy(update={"kind": kind, "out": out}))
    if settings.pose == "as_maps" and len(dataset.images) == 1:
        log.info("a single unlabelled scan: no locator")
    elif settings.pose == "as_maps":
        _train_locator(config, dataset, common)


def _train_locator(config: AdaptConfig, dataset: Dataset, common: dict[str, Any]) -> None:
    """Of the VAE; the atlas borrows it, so that both can be compared at one pose."""
    located, atlas = config.out / LOCATED, config.out / LOCATED_ATLAS
    if not located.exists():
        scans = {"images": list(dataset.images)}
        ends = {"prior": config.out / "vae.safetensors", "out": located}
        with _timed(config, "locator"):
            request = config.locator | common | scans | ends
            train_locator.run(resolve(TrainLocatorConfig, None, request))
    if not atlas.exists():
        borrower, lender = load_model(config.out / "atlas.safetensors"), load_model(located)
        header = borrower.header.model_copy(update={"locator": lender.header.locator})
        save_model(atlas, header, borrower.prior, locator=lender.locator)


def benchmark_of(config: AdaptConfig, dataset: Dataset, report: Report) -> BenchmarkConfig:
    """Every method on the scored images, told on the data set's own page."""
    return BenchmarkConfig.model_validate(
        {
            "data": config.out,
            "models": config.out,
            "tables": report.table.parent,
            "cache": config.out / "cells",
            "page": config.out / "report.md",
            "threads": config.threads,
            "methods": [*METHODS, *_of_vae(config)],
            "datasets": [
                {
                    "name": config.name,
                    "images": dataset.lists["scored"].name,
                    "references": dataset.lists["references"].name,
                    "label_table": report.table.name,
                }
            ],
        }
    )


def _of_vae(config: AdaptConfig) -> list[dict[str, Any]]:
    """The data set's own way of refining, others, and what its own owes to prior and locator."""
    other = "full" if config.refine == "fast" else "fast"
    has_locator = (config.out / LOCATED).exists()
    ways = {
        "VAE, one pass": {"refine": "0"},
        "VAE + refinement": {"refine": config.refine},
        f"VAE, refine {other}": {"refine": other},
        "VAE + refinement, prior alone": {"refine": config.refine, "output": "prior"},
    }
    model = LOCATED if has_locator else "vae.safetensors"
    methods = [{"name": name, "model": model, "segment": way} for name, way in ways.items()]
    if has_locator:
        without = {"model": "vae.safetensors", "segment": {"refine": config.refine}}
        methods.append({"name": "VAE + refinement, no locator", **without})
        methods.append({"name": "atlas + EM, with the VAE's locator", "model": LOCATED_ATLAS})
    return methods


def introduce(config: AdaptConfig, report: Report) -> None:
    """Begin the page: what was found, what was chosen, how the training went."""
    findings = (config.out / "check" / "findings.txt").read_text("utf-8")
    minutes = json.loads((config.out / "minutes.json").read_text("utf-8"))
    trained = "\n".join(f"| {name} | {value:.1f} |" for name, value in minutes.items())
    sections = [
        f"# {config.name}",
        f"## The data\n\n```\n{findings}```",
        f"## The config\n\n```yaml\n{(config.out / 'prior.yaml').read_text('utf-8')}```",
        f"## Training\n\n| what | CPU minutes |\n|---|---|\n{trained}\n\n![loss](vae/log.png)",
        f"## Results\n\n{len(report.fingerprint.maps)} label maps and the images of other "
        "subjects taught the models; the scored subjects are others again.",
    ]
    with atomic_write(config.out / "report.md") as temporary:
        temporary.write_text("\n\n".join(sections) + "\n", "utf-8")


@contextmanager
def _timed(config: AdaptConfig, name: str) -> Iterator[None]:
    """Note the CPU minutes of a training: wall time would tell what else the machine did."""
    start = time.process_time()
    yield
    path = config.out / "minutes.json"
    minutes = json.loads(path.read_text("utf-8")) if path.exists() else {}
    with atomic_write(path) as temporary:
        minutes[name] = (time.process_time() - start) / 60
        temporary.write_text(json.dumps(minutes), "utf-8")
