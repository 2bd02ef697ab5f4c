"""`segment`: scans in, label maps on the scans' own grids out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from seg_prior.api import Segmenter
from seg_prior.checkpoints.header import read_header
from seg_prior.config.commands import SegmentConfig
from seg_prior.config.inference import ReadingConfig
from seg_prior.core.device import start
from seg_prior.errors import ConfigError, SegPriorError
from seg_prior.files import sha256_of
from seg_prior.io import bids
from seg_prior.io.find import find_images
from seg_prior.output import cohort, cohort_report
from seg_prior.output.layout import Extras, Job

Show = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What became of a request: files written, and (file, message) of those that failed."""

    written: tuple[Path, ...]
    failed: tuple[tuple[Path, str], ...]


def run(config: SegmentConfig, show: Show = print) -> Outcome:
    """Segment every scan that is not finished; one that fails does not stop the others.

    Raises:
        SegPriorError: The request itself does not fit, or the only scan failed.
    """
    jobs = plan(config)
    for job in jobs:
        cohort.check_replaceable(job)
    read_header(config.model)
    sha256 = sha256_of(config.model)
    mine = cohort.part_of(jobs, config.shard)
    todo = [job for job in mine if config.overwrite or not cohort.is_finished(job, config, sha256)]
    if len(todo) < len(mine):
        show(f"{len(mine) - len(todo)} of {len(mine)} scans are finished; --overwrite repeats them")
    if config.bids:
        bids.describe_bids_folder(config.out)
    outcome = _segment_all(todo, config, show, is_alone=len(jobs) == 1)
    for line in cohort.describe_quality(mine):
        show(line)
    if bids.is_file(config.out):
        return outcome
    cohort.write_failures(config.out, config.shard, outcome.failed)
    written = outcome.written
    if Extras.of(config).volumes:
        written += (cohort.write_volumes(config.out, jobs, Extras.of(config)),)
    if config.report:
        written += (
            cohort_report.write_cohort(config.out, jobs, outcome.failed, Extras.of(config)),
        )
    return Outcome(written, outcome.failed)


def plan(config: SegmentConfig) -> list[Job]:
    """Every scan of a request, of all shards, with its label map.

    Raises:
        SegPriorError: A scan is not there, two of them would go to one place, or contrasts do not
            belong to one scan.
    """
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


def _segment_all(todo: list[Job], config: SegmentConfig, show: Show, is_alone: bool) -> Outcome:
    """Segment one scan after the other with a model that is loaded once."""
    if not todo:
        return Outcome((), ())
    start(config)
    reading = {name: getattr(config, name) for name in ReadingConfig.model_fields}
    segmenter = Segmenter.of(ReadingConfig(**reading))
    written: list[Path] = []
    failed: list[tuple[Path, str]] = []
    is_silent = True if config.quiet else None  # None: silent when not a terminal
    for job in tqdm(todo, unit="scan", disable=is_silent):
        try:
            written += _segment_one(job, segmenter, config, show)
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


def _segment_one(
    job: Job, segmenter: Segmenter, config: SegmentConfig, show: Show
) -> tuple[Path, ...]:
    request = cohort.request_of(job, config, segmenter.model.sha256)
    result = segmenter.segment(job.image, contrasts=job.contrasts)
    files = result.write(job.target, Extras.of(config), request)
    for warning in result.volume.warnings:
        show(f"{job.image}: {warning}")
    return files
