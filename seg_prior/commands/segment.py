"""`segment`: scans in, label maps on the scans' own grids out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from seg_prior.config.inference import ReadingConfig
from seg_prior.config.output import ScanConfig
from seg_prior.core.progress import is_silent
from seg_prior.errors import ConfigError, SegPriorError
from seg_prior.files import Files, sha256_of

if TYPE_CHECKING:
    from seg_prior.api import Segmenter
    from seg_prior.output.layout import Job

SUMMARY = "Segment scans, each on its own grid."
EXAMPLE = "seg-prior segment scan.nii.gz scan_dseg.nii.gz --model model.safetensors"
OPERANDS = "images... out"
log = logging.getLogger(__name__)


class Config(ScanConfig):
    """`segment`: scans in, label maps on the scans' own grids out."""

    images: list[Path]
    """Scans: files, folders, patterns or .txt lists."""
    out: Path
    """A file for one scan, a folder for several."""
    contrasts: list[Path] = []
    """Further images of the one scan, which their headers lay upon it; only with one scan."""
    overwrite: bool = False
    """Segment again what is finished, of the same scan, model and settings."""
    shard: str = Field("1/1", pattern=r"^[1-9]\d*/[1-9]\d*$")
    """Of a long list, do part I of N, as `I/N`; other machines do the others."""


@dataclass(frozen=True)
class Outcome:
    """What became of a request: files written, and (file, message) of those that failed."""

    written: tuple[Path, ...]
    failed: tuple[tuple[Path, str], ...]


def files(config: Config) -> Files:
    """What `run` reads and writes."""
    from seg_prior.io import bids
    from seg_prior.output import cohort, cohort_report, layout

    mine = cohort.part_of(plan(config), config.shard)
    writes = [file for job in mine for file in layout.files_of(job.target, config).values()]
    if config.bids:
        root = (bids.DESCRIPTION, bids.IGNORE, bids.README)
        writes = [*(config.out / name for name in root), *writes]
    if config.with_volumes and not bids.is_file(config.out):
        writes.append(config.out / "volumes.tsv")
    if config.report and not bids.is_file(config.out):
        writes.append(config.out / cohort_report.COHORT_PAGE)
    reads = [file for job in mine for file in (job.image, *job.contrasts)]
    return Files([config.model, *reads], writes)


def run(config: Config) -> Outcome:
    """Segment every scan that is not finished; one that fails does not stop the others.

    Raises:
        SegPriorError: The request itself does not fit, or the only scan failed.
    """
    from seg_prior.checkpoints.header import read_header
    from seg_prior.io import bids
    from seg_prior.output import cohort, cohort_report

    jobs = plan(config)
    for job in jobs:
        cohort.check_replaceable(job)
    read_header(config.model)
    sha256 = sha256_of(config.model)
    mine = cohort.part_of(jobs, config.shard)
    todo = [job for job in mine if config.overwrite or not cohort.is_finished(job, config, sha256)]
    if len(todo) < len(mine):
        done = len(mine) - len(todo)
        log.info("%d of %d scans are finished; --overwrite repeats them", done, len(mine))
    if config.bids:
        bids.describe_bids_folder(config.out)
    outcome = _segment_all(todo, config, is_alone=len(jobs) == 1)
    for line in cohort.describe_quality(mine):
        log.info(line)
    written = outcome.written
    if not bids.is_file(config.out):
        cohort.write_failures(config.out, config.shard, outcome.failed)
        if config.with_volumes:
            written += (cohort.write_volumes(config.out, jobs, config),)
        if config.report:
            written += (cohort_report.write_cohort(config.out, jobs, outcome.failed, config),)
    log.info("wrote %d files", len(written))
    return Outcome(written, outcome.failed)


def plan(config: Config) -> list[Job]:
    """Every scan of a request, of all shards, with its label map.

    Raises:
        SegPriorError: A scan is not there, two of them would go to one place, or contrasts do not
            belong to one scan.
    """
    from seg_prior.io import bids
    from seg_prior.io.find import find_images
    from seg_prior.output.layout import Job

    images = find_images(config.images)
    contrasts = tuple(find_images(config.contrasts)) if config.contrasts else ()
    if contrasts and len(images) > 1:
        raise ConfigError(
            f"contrasts: found {len(images)} scans, {images[0]} the first, need one, whose "
            "further images they are. Segment the scans one by one."
        )
    for contrast in contrasts:
        if any(contrast.samefile(image) for image in images):
            raise ConfigError(
                f"contrasts: found {contrast}, which is the scan itself, need other images of it. "
                "What is shown twice would count twice."
            )
    targets = bids.plan(images, config.out, config.bids)
    if config.bids:
        bids.check_bids_folder(config.out)
    return [Job(image, target, contrasts) for image, target in zip(images, targets, strict=True)]


def _segment_all(todo: list[Job], config: Config, is_alone: bool) -> Outcome:
    """Segment one scan after the other with a model that is loaded once."""
    from tqdm import tqdm

    from seg_prior.api import Segmenter
    from seg_prior.core.device import start

    if not todo:
        return Outcome((), ())
    start(config)
    reading = {name: getattr(config, name) for name in ReadingConfig.model_fields}
    segmenter = Segmenter.of(ReadingConfig(**reading))
    written: list[Path] = []
    failed: list[tuple[Path, str]] = []
    for job in tqdm(todo, unit="scan", disable=is_silent(log)):
        try:
            written += _segment_one(job, segmenter, config)
        except SegPriorError as error:
            if is_alone:
                raise
            failed.append((job.image, str(error)))
        except Exception as error:
            # What nobody foresaw in one of a thousand scans must not cost the other ones.
            if is_alone:
                raise
            failed.append((job.image, f"{job.image}: {type(error).__name__}: {error}"))
    return Outcome(tuple(written), tuple(failed))


def _segment_one(job: Job, segmenter: Segmenter, config: Config) -> tuple[Path, ...]:
    from seg_prior.output import cohort

    request = cohort.request_of(job, config, segmenter.model.sha256)
    result = segmenter.segment(job.image, contrasts=job.contrasts)
    written = result.write(job.target, config, request)
    for warning in result.volume.warnings:
        log.warning("%s: %s", job.image, warning)
    steps = ", ".join(f"{name} {time_s:.1f} s" for name, time_s in result.seconds.items())
    log.debug("%s: %s, %s", job.image, result.qc.verdict, steps)
    return written
