"""What each stage would read and write, found out without doing it."""

from __future__ import annotations

from functools import singledispatch
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import BaseModel

from seg_prior.commands import reconstruct, sample, segment
from seg_prior.config.commands import (
    CalibrateConfig,
    CheckConfig,
    DemoConfig,
    EvaluateConfig,
    MakePhantomsConfig,
    ReconstructConfig,
    SampleConfig,
    SegmentConfig,
    TrainEncoderConfig,
    TrainLocatorConfig,
    TrainPriorConfig,
)
from seg_prior.errors import ConfigError
from seg_prior.io import bids
from seg_prior.io.find import find_images
from seg_prior.output import cohort_report
from seg_prior.output.cohort import part_of
from seg_prior.output.layout import Extras
from seg_prior.output.layout import files_of as files_of_scan

TRAINING_FILES = ("last.pt", "log.csv", "log.png")


class Files(NamedTuple):
    """What a stage reads and writes."""

    reads: list[Path]
    writes: list[Path]


def describe(config: BaseModel) -> str:
    """The config as YAML that `--config` takes, and below it, as comments, the files.

    Raises:
        SegPriorError: A file to read does not exist.
    """
    reads, writes = files_of(config)
    for path in reads:
        if not path.exists():
            raise ConfigError(f"{path}: no such file. Check the path.")
    lines = [yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).rstrip()]
    lines += [f"# reads {path}" for path in reads]
    lines += [f"# writes {path}" for path in writes]
    return "\n".join(lines)


@singledispatch
def files_of(config: BaseModel) -> Files:
    """The files of the stage that a config belongs to.

    Raises:
        SegPriorError: An input is not there, or two results would have one name.
    """
    raise NotImplementedError(type(config))


@files_of.register
def _(config: CheckConfig) -> Files:
    images = find_images(config.images) if config.images else []
    reads = [*find_images(config.labels), *images, *_given(config.label_table)]
    return Files(reads, [config.out / "labels.tsv", config.out / "prior.yaml"])


@files_of.register
def _(config: TrainPriorConfig) -> Files:
    writes = [config.out]
    if config.kind == "vae":
        writes = [*_training_files(config.out.with_suffix("")), config.out]
    return Files([*find_images(config.labels), *_given(config.label_table)], writes)


@files_of.register
def _(config: TrainEncoderConfig) -> Files:
    folder = config.out.with_suffix("")
    reads, writes = [config.prior], _training_files(folder / "pretrain")
    if config.labels:
        reads += find_images(config.labels)
    if not config.synthetic_only:
        reads += find_images(config.images)
        writes += _training_files(folder / "adapt")
    return Files(reads, [*writes, config.out])


@files_of.register
def _(config: TrainLocatorConfig) -> Files:
    writes = [*_training_files(config.out.with_suffix("")), config.out]
    return Files([config.prior, *find_images(config.images)], writes)


@files_of.register
def _(config: CalibrateConfig) -> Files:
    return Files([config.model, *find_images(config.labels)], [config.model])


@files_of.register
def _(config: SegmentConfig) -> Files:
    jobs, extras = segment.plan(config), Extras.of(config)
    mine = part_of(jobs, config.shard)
    writes = [file for job in mine for file in files_of_scan(job.target, extras).values()]
    if config.bids:
        root = (bids.DESCRIPTION, bids.IGNORE, bids.README)
        writes = [*(config.out / name for name in root), *writes]
    if extras.volumes and not bids.is_file(config.out):
        writes.append(config.out / "volumes.tsv")
    if extras.report and not bids.is_file(config.out):
        writes.append(config.out / cohort_report.COHORT_PAGE)
    reads = [file for job in mine for file in (job.image, *job.contrasts)]
    return Files([config.model, *reads], writes)


@files_of.register
def _(config: EvaluateConfig) -> Files:
    reads = [*find_images([config.pred]), *find_images([config.ref]), *_given(config.label_table)]
    writes = [] if config.out is None else [config.out, config.out.with_suffix(".json")]
    return Files(reads, writes)


@files_of.register
def _(config: SampleConfig) -> Files:
    files = sample.plan(config)
    return Files([config.model], [*files.label_maps, files.picture])


@files_of.register
def _(config: ReconstructConfig) -> Files:
    files = reconstruct.plan(config)
    reads = [config.model, *find_images(config.labels)]
    return Files(reads, [*files.label_maps, files.picture, files.table])


@files_of.register
def _(config: MakePhantomsConfig) -> Files:
    subjects = [f"sub-{number:03d}_phantom" for number in range(1, config.num + 1)]
    names = [f"{subject}{end}.nii.gz" for subject in subjects for end in ("", "_dseg")]
    return Files([], [config.out / name for name in (*names, "labels.tsv")])


@files_of.register
def _(config: DemoConfig) -> Files:
    return Files([], [config.out])


def _given(path: Path | None) -> list[Path]:
    return [] if path is None else [path]


def _training_files(folder: Path) -> list[Path]:
    return [folder / name for name in TRAINING_FILES]
