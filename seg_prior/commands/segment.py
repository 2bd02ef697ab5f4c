"""`segment`: scans in, label maps on the scans' own grids out."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from seg_prior.config.base import EXPERT
from seg_prior.config.inference import ReadingConfig
from seg_prior.config.output import ScanConfig
from seg_prior.core.progress import progress
from seg_prior.errors import ConfigError, OutputError, SegPriorError
from seg_prior.files import Files, claimed, sha256_of

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
    """Read these further images of the one scan, too, which their headers lay upon it."""
    ignore: Path | None = None
    """Take what this mask of the one scan is above 0 at, such as a lesion, for missing data."""
    overwrite: bool = False
    """Segment again what is finished, of the same scan, model and settings."""
    shard: Annotated[str, EXPERT] = Field("1/1", pattern=r"^[1-9]\d*/[1-9]\d*$")
    """Do part I of N of a long list, as `I/N`; other machines do the others."""


@dataclass(frozen=True)
class Outcome:
    """What became of a request: files written, and (file, message) of those that failed."""

    written: tuple[Path, ...]
    failed: tuple[tuple[Path, str], ...]


def files(config: Config) -> Files:
    """What `run` reads and writes; `failed.tsv` comes only where a scan fails."""
    from seg_prior.io import bids
    from seg_prior.output import cohort, layout
    from seg_prior.output.cohort_report import COHORT_PAGE
    from seg_prior.output.cohort_tables import VOLUMES, WIDE

    mine = cohort.part_of(plan(config), config.shard)
    writes = [file for job in mine for file in layout.files_of(job.target, config).values()]
    if config.bids:
        root = (bids.DESCRIPTION, bids.IGNORE, bids.README)
        writes = [*(config.out / name for name in root), *writes]
    if config.with_volumes and not bids.is_file(config.out):
        writes.append(config.out / VOLUMES)
    if config.wide and not bids.is_file(config.out):
        writes.append(config.out / WIDE)
    if config.report and not bids.is_file(config.out):
        writes.append(config.out / COHORT_PAGE)
    reads = [file for job in mine for file in job.inputs]
    return Files([config.model, *reads], writes, signed=writes)


def run(config: Config) -> Outcome:
    """Segment every scan that is not finished; one that fails does not stop the others.

    Raises:
        SegPriorError: The request itself does not fit, or the only scan failed.
        OutputError: The disk is full, or there is no leave to write.
    """
    from seg_prior.checkpoints.header import read_header
    from seg_prior.io import bids
    from seg_prior.output import cohort, cohort_tables

    jobs = plan(config)
    read_header(config.model)
    sha256 = sha256_of(config.model)
    if not bids.is_file(config.out):
        cohort_tables.check_tables(config.out)
    mine = cohort.part_of(jobs, config.shard)
    todo = [job for job in mine if config.overwrite or not cohort.is_finished(job, config, sha256)]
    for job in todo:
        cohort.check_replaceable(job, config, config.overwrite)
    if len(todo) < len(mine):
        done = len(mine) - len(todo)
        log.info("%d of %d scans are finished; --overwrite repeats them", done, len(mine))
    log.info("%d of %d scans to segment with %s", len(todo), len(mine), config.model.name)
    segmenter = _load(config) if todo else None  # a damaged model is told before a file is written
    if config.bids:
        bids.describe_bids_folder(config.out, [job.image for job in jobs])
    try:
        outcome = _segment_all(todo, segmenter, config, is_alone=len(jobs) == 1)
    finally:
        tables = _write_tables(config, set(mine) - set(todo))
    for line in cohort.describe_quality(mine):
        log.info(line)
    written = outcome.written + tables
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
    of_one = {"contrasts": "further images they are", "ignore": "mask it is"}
    for key, what in of_one.items():
        if getattr(config, key) and len(images) > 1:
            raise ConfigError(
                f"{key}: found {len(images)} scans, {images[0]} the first, need one, whose {what}. "
                "Segment the scans one by one."
            )
    for contrast in contrasts:
        if any(image.exists() and contrast.samefile(image) for image in images):
            raise ConfigError(
                f"contrasts: found {contrast}, which is the scan itself, need other images of it. "
                "What is shown twice would count twice."
            )
    targets = bids.plan_outputs(images, config.out, config.bids)
    if config.bids:
        bids.check_bids_folder(config.out)
    return [
        Job(image, target, contrasts, config.ignore)
        for image, target in zip(images, targets, strict=True)
    ]


def _load(config: Config) -> Segmenter:
    from seg_prior.api import Segmenter
    from seg_prior.core.device import start

    start(config)
    return Segmenter.of(
        ReadingConfig(**{name: getattr(config, name) for name in ReadingConfig.model_fields})
    )


def _segment_all(
    todo: list[Job], segmenter: Segmenter | None, config: Config, is_alone: bool
) -> Outcome:
    """Segment one scan after the other; without a model, none."""
    from seg_prior.io import bids
    from seg_prior.output import cohort

    if segmenter is None:
        return Outcome((), ())
    written: list[Path] = []
    failed: list[tuple[Path, str]] = []
    num_busy = 0
    for job in progress(todo, log, "scans", total=len(todo), is_slow=True):
        with claimed(job.target) as is_mine:
            if not is_mine:
                num_busy += 1
                continue
            try:
                written += _segment_one(job, segmenter, config)
            except OutputError:
                raise  # no fault of the scan, and the next one would fare no better
            except Exception as error:
                # What nobody foresaw in one of a thousand scans must not cost the other ones.
                is_told = isinstance(error, SegPriorError)
                told = str(error) if is_told else f"{job.image}: {type(error).__name__}: {error}"
                if not bids.is_file(config.out):
                    cohort.note_failure(job, told)
                if is_alone:
                    raise
                failed.append((job.image, told))
    if num_busy:
        log.info("%d of %d scans are left to another run, which has them", num_busy, len(todo))
    return Outcome(tuple(written), tuple(failed))


def _segment_one(job: Job, segmenter: Segmenter, config: Config) -> tuple[Path, ...]:
    from seg_prior.io import bids
    from seg_prior.output import cohort

    sha256 = segmenter.model.sha256
    if not config.overwrite and cohort.is_finished(job, config, sha256):
        return ()  # by another run, since this one began
    result = segmenter.segment(job.image, contrasts=job.contrasts, ignore=job.ignore)
    request = cohort.resume_key(job, config, sha256)
    written = result.write(job.target, config, request, config.overwrite)
    if not bids.is_file(config.out):
        cohort.forget_failure(job)
    for warning in result.remarks:
        log.warning("%s: %s", job.image, warning)
    steps = ", ".join(f"{name} {time_s:.1f} s" for name, time_s in result.seconds.items())
    log.debug("%s: %s, %s", job.image, result.qc.verdict, steps)
    return written


def _write_tables(config: Config, finished: Iterable[Job]) -> tuple[Path, ...]:
    """Of a folder, those of all its scans."""
    from seg_prior.io import bids
    from seg_prior.output import cohort, cohort_tables

    if bids.is_file(config.out):
        return ()
    for job in finished:
        cohort.forget_failure(job)
    return tuple(
        cohort_tables.write_tables(config.out, config.with_volumes, config.report, config.wide)
    )
