"""`adapt`: label maps and scans of an organ in; models, segmentations, scores and a page out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field, ValidationError

from seg_prior.commands import check, evaluate, segment, train_locator, train_prior
from seg_prior.config.inference import Refine
from seg_prior.config.merge import Config as Model
from seg_prior.config.merge import fault, merged
from seg_prior.config.runtime import RuntimeConfig
from seg_prior.errors import ConfigError
from seg_prior.files import Files, write_json, write_text

if TYPE_CHECKING:
    from seg_prior.checkpoints.request import Request
    from seg_prior.metrics.scores import SummaryRow
    from seg_prior.planning.subjects import Subjects

SUMMARY = "Adapt to an organ: check the data, train, segment and score, by one file."
EXAMPLE = "seg-prior adapt organ.yaml --check-only"
OPERANDS = "config"
MODELS = {"atlas": "atlas + EM", "vae": "label VAE", "located": "label VAE, located"}
"""Model -> what it is called beside its scores."""
MENDED, REQUEST = "mended", "request.json"
"""Folder of copies with mended headers; what the models of OUT were made of."""
log = logging.getLogger(__name__)

Share = Annotated[float, Field(ge=0, le=1e6)]
SpacingMm = Annotated[float, Field(gt=0, le=1000)]


class Config(RuntimeConfig):
    """`adapt`: label maps and scans of an organ in, and everything from models to scores out."""

    data: Path
    """Folder that images and labels lie in."""
    images: str
    """Scans, as a folder or a pattern in `data`."""
    labels: str
    """Label maps, in the same forms; paired with scans by subject."""
    out: Path
    """Folder for models, results, scores and report.md."""
    label_table: Path | None = None
    """Names of the labels, as `train-prior` takes them; without one every id is a label."""
    check_only: bool = False
    """Look at the data, propose settings, and stop there."""
    header_spacing_mm: tuple[SpacingMm, SpacingMm, SpacingMm] | None = None
    """What headers should say of the voxels' spacing, where they are wrong; copies are mended."""
    shares: tuple[Share, Share, Share] = (0.5, 0.2, 0.3)
    """Of subjects whose maps teach anatomy, whose scans teach intensities, and who are scored."""
    scored: list[str] = []
    """Names of the scored subjects, where they are settled; `shares` deals the others."""
    refine: Refine = "fast"
    """Refine z so long when segmenting with what was trained."""
    prior: dict[str, Any] = {}
    """Settings of `train-prior`, over the proposed ones."""
    locator: dict[str, Any] = {}
    """Settings of `train-locator`, which is trained where scans are cut like the maps."""


class Outcome(NamedTuple):
    """What became of a data set.

    Attributes:
        report: Of `check`.
        scores: Name of a model -> scores of each structure, and of all, over the scored subjects.
        failed: (subject, message) of what failed.
    """

    report: check.Report
    scores: dict[str, tuple[SummaryRow, ...]]
    failed: Sequence[tuple[object, str]]


def files(config: Config) -> Files:
    """What `run` reads and writes, a locator among it that not every organ needs."""
    from seg_prior.checkpoints.provenance import training_files
    from seg_prior.planning.proposal import DETAIL_CHANNELS
    from seg_prior.planning.subjects import divide, mended

    images, labels = _sources(config)
    subjects = divide(images, labels, config.shares, config.scored)
    reads = [*images, *labels, *([config.label_table] if config.label_table else [])]
    out = config.out
    writes = list(subjects.lists(out))
    if config.header_spacing_mm is not None:
        writes += mended([*images, *labels], out / MENDED)
    writes += [out / name for name in ("split.json", "check/labels.tsv", "check/prior.yaml")]
    if config.check_only:
        return Files(reads, writes)
    writes += [out / name for name in (REQUEST, "prior.yaml", "report.md")]
    signed: list[Path | str] = [_checkpoint(config, kind) for kind in ("first_atlas", *MODELS)]
    for kind in MODELS:
        writes += [out / "scores" / f"{kind}.{ending}" for ending in ("csv", "json")]
        asked = _segment_settings(config, kind, subjects.scored)
        signed += segment.files(asked).signed
    as_proposed = _prior_settings(config, {"vae": {"detail_channels": DETAIL_CHANNELS}}, "vae")
    for folder in (*train_prior.folders(as_proposed), out / "located"):
        writes += training_files(folder)
    return Files(reads, writes, signed)


def run(config: Config) -> Outcome:
    """Do all of it; what is finished of the same request is not done again.

    Raises:
        SegPriorError: The data or the settings do not fit, or OUT holds what came of others.
    """
    from seg_prior.evaluation.adapted import score_table

    request = _request(config)
    subjects = prepare(config)
    _prior_settings(config, {}, "vae")  # a slip in either is told before the work
    _locator_settings(config)
    report = look(config)
    for line in report.lines:
        log.info(line)
    if config.check_only or report.problems:
        if not report.problems:
            log.info("next: the same command without --check-only")
        return Outcome(report, {}, report.failed)
    write_json(config.out / REQUEST, request.record())
    models = _train(config, subjects, report)
    scores, failed = {}, list[tuple[object, str]]()
    for kind in models:
        log.info("%s: segment and score %d scans", MODELS[kind], len(subjects.scored))
        asked = _segment_settings(config, kind, subjects.scored)
        failed += segment.run(asked).failed
        scored = evaluate.run(_evaluate_settings(config, kind))
        failed += scored.failed
        scores[MODELS[kind]] = scored.summary
    _write_page(config, report, scores)
    for line in score_table(scores):
        log.info(line)
    best = _checkpoint(config, models[-1])
    log.info("wrote %s; the model to segment with is %s", config.out / "report.md", best)
    return Outcome(report, scores, failed)


def _write_page(
    config: Config, report: check.Report, scores: dict[str, tuple[SummaryRow, ...]]
) -> None:
    from seg_prior.evaluation.adapted import adapted_page

    pages = {f"scans, {MODELS[kind]}": f"results/{kind}/report.html" for kind in MODELS}
    links = {"loss of the label VAE": "vae/log.png"} | pages
    there = {name: place for name, place in links.items() if (config.out / place).exists()}
    settings = (config.out / "prior.yaml").read_text("utf-8")
    page = adapted_page(config.out.resolve().name, report.lines, settings, scores, there)
    write_text(config.out / "report.md", page)


def _sources(config: Config) -> tuple[list[Path], list[Path]]:
    """Scans and label maps as they lie in the data set."""
    from seg_prior.io.find import find_images, find_label_maps

    images = find_images([config.data / config.images])
    return images, find_label_maps([config.data / config.labels])


def prepare(config: Config) -> Subjects:
    """Mend headers where the config says how, deal the subjects, write who has which role."""
    from seg_prior.planning.subjects import divide, mend

    images, labels = _sources(config)
    if config.header_spacing_mm is not None:
        folder, spacing_mm = config.out / MENDED, config.header_spacing_mm
        images = mend(images, folder, spacing_mm, is_label=False)
        labels = mend(labels, folder, spacing_mm, is_label=True)
    subjects = divide(images, labels, config.shares, config.scored)
    for path, listed in subjects.lists(config.out).items():
        write_text(path, "".join(f"{one.resolve()}\n" for one in listed))
    write_json(config.out / "split.json", subjects.role_of)
    return subjects


def look(config: Config) -> check.Report:
    """`check` on the label maps to learn from and the unlabelled scans."""
    out = config.out
    inputs = {"labels": [out / "maps.txt"], "images": [out / "images.txt"]}
    return check.look(check.Config(**inputs, out=out / "check", label_table=config.label_table))


def _request(config: Config) -> Request:
    """What the models are made of.

    Raises:
        ConfigError: OUT holds the models of another request.
    """
    from seg_prior.checkpoints.request import Request
    from seg_prior.io.sidecar import read_json

    # Neither is part of what the models are made of.
    asked = config.model_copy(update={"check_only": False, "refine": "fast"})
    request, path = Request.of(asked, files(asked).reads), config.out / REQUEST
    difference = request.difference(read_json(path)) if path.exists() else ""
    if difference:
        raise ConfigError(
            f"{config.out}: found the models of another request (differs in: {difference}), need "
            "a folder for this one. Name another --out, or delete it."
        )
    return request


def _train(config: Config, subjects: Subjects, report: check.Report) -> list[str]:
    """An atlas to choose Gaussians with, then every model; the kinds, the best last."""
    proposed = _with_gaussians(config, subjects, report)
    for kind in ("atlas", "vae"):
        train_prior.run(_prior_settings(config, proposed, kind))
    if config.prior.get("pose", proposed["pose"]) != "as_maps":
        return ["atlas", "vae"]
    if len(subjects.images) < 2:
        log.info("a single unlabelled scan: no locator")
        return ["atlas", "vae"]
    train_locator.run(_locator_settings(config))
    return list(MODELS)


def _with_gaussians(config: Config, subjects: Subjects, report: check.Report) -> dict[str, Any]:
    """What `check` proposed and, from the unlabelled scans, Gaussians; kept in OUT/prior.yaml."""
    from seg_prior.api import Segmenter
    from seg_prior.core.device import start
    from seg_prior.io.settings_file import read_yaml
    from seg_prior.planning.check import write_proposal
    from seg_prior.planning.proposal import propose_intensity

    path = config.out / "prior.yaml"
    if not path.exists():
        first = _checkpoint(config, "first_atlas")
        asked = _prior_settings(config, report.proposal, "atlas")
        train_prior.run(asked.model_copy(update={"out": first}))
        segmenter = Segmenter.load(first, device=start(config))
        intensity = propose_intensity(segmenter, subjects.images)
        write_proposal(path, report.table, report.proposal | {"intensity": intensity})
    proposal = dict(read_yaml(path))
    del proposal["label_table"]  # as seen from OUT
    return proposal


def _prior_settings(config: Config, proposed: dict[str, Any], kind: str) -> train_prior.Config:
    asked = {
        "labels": [config.out / "maps.txt"],
        "label_table": config.out / "check" / "labels.tsv",
        "kind": kind,
        "out": _checkpoint(config, kind),
    }
    # Nobody is held out of the maps' subjects: others are scored.
    layers = (proposed, {"holdout_share": 0}, config.prior)
    return _settings(train_prior.Config, "prior", config, asked, *layers)


def _locator_settings(config: Config) -> train_locator.Config:
    prior, out = (_checkpoint(config, kind) for kind in ("vae", "located"))
    asked = {"images": [config.out / "images.txt"], "prior": prior, "out": out}
    return _settings(train_locator.Config, "locator", config, asked, config.locator)


def _segment_settings(config: Config, kind: str, scans: Sequence[Path]) -> segment.Config:
    return segment.Config(
        images=list(scans),
        out=config.out / "results" / kind,
        model=_checkpoint(config, kind),
        refine=None if kind == "atlas" else config.refine,
        report=True,
        **_common(config),
    )


def _evaluate_settings(config: Config, kind: str) -> evaluate.Config:
    return evaluate.Config(
        pred=config.out / "results" / kind,
        ref=config.out / "references.txt",
        out=config.out / "scores" / f"{kind}.csv",
        label_table=config.out / "check" / "labels.tsv",
    )


def _settings(
    command: type[Model], key: str, config: Config, asked: dict[str, Any], *layers: dict[str, Any]
) -> Model:
    """Settings of a command; what does not fit is told with the key that holds it here."""
    try:
        return merged(command, *layers, _common(config), asked)
    except ValidationError as error:
        raise ConfigError(f"{key}.{fault(error, command)}") from error


def _common(config: Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in RuntimeConfig.model_fields}


def _checkpoint(config: Config, kind: str) -> Path:
    return config.out / f"{kind}.safetensors"
