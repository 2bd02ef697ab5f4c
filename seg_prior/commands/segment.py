"""`segment`: scans in, label maps on the scans' own grids out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from seg_prior.config.base import EXPERT
from seg_prior.config.output import ScanConfig
from seg_prior.core.progress import progress
from seg_prior.errors import ConfigError
from seg_prior.files import Files, sha256_of

if TYPE_CHECKING:
    from seg_prior.cohort.attempt import Attempt, Task
    from seg_prior.cohort.cluster import Engine
    from seg_prior.output.cohort import Judged
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
    cluster: Annotated[str | None, EXPERT] = None
    """Do the scans on Dask workers: `local:N`, a .yaml of batch jobs, or `tcp://HOST:PORT`."""


@dataclass(frozen=True)
class Outcome:
    """What became of a request.

    Attributes:
        num_written: Files.
        failed: (scan, message) of those that failed.
        judged: What those are worth that it did.
    """

    num_written: int
    failed: tuple[tuple[str, str], ...]
    judged: tuple[tuple[str, Judged], ...]


def files(config: Config) -> Files:
    """What `run` reads and writes; `failed.tsv` comes only where a scan fails."""
    from seg_prior.output import cohort

    mine = cohort.part_of(plan(config), config.shard)
    reads = [file for job in mine for file in job.inputs]
    return Files([config.model, *reads], [], signed=_results(config, mine))


def run(config: Config) -> Outcome:
    """Segment every scan that is not finished; one that fails does not stop the others.

    Raises:
        SegPriorError: The request itself does not fit, or the only scan failed.
        OutputError: The disk is full, or there is no leave to write.
    """
    from seg_prior.checkpoints.header import read_header
    from seg_prior.io import bids
    from seg_prior.output import cohort, cohort_tables
    from seg_prior.output.layout import is_file

    jobs, in_folder = plan(config), not is_file(config.out)
    read_header(config.model)
    model_sha256 = sha256_of(config.model)
    if in_folder:
        cohort_tables.check_tables(config.out)
    mine = cohort.part_of(jobs, config.shard)
    done, due = cohort.done_and_due(mine, model_sha256, config.overwrite)
    if done:
        log.info("%d of %d scans are finished; --overwrite repeats them", len(done), len(mine))
    log.info("%d of %d scans to segment with %s", len(due), len(mine), config.model.name)
    from seg_prior.cohort.attempt import Task  # it imports torch: all above is told before

    is_alone = len(jobs) == 1
    tasks = (Task(job, config.overwrite, in_folder, is_alone) for job in due)
    before = [(job.scan, worth) for job, worth in done]
    tables: list[Path] = []
    with _engine(config, is_needed=bool(due)) as engine:
        if config.bids:
            bids.describe_bids_folder(config.out, (job.image for job in jobs))
        try:
            outcome = _segment_all(engine(tasks), len(due))
        finally:
            if in_folder:
                cohort.forget_failures(job for job, _ in done)
                del jobs, mine, done, due  # tables are made without them, and take memory, too
                tables = cohort_tables.write_tables(config.out, config)
    for line in cohort.describe_quality([*before, *outcome.judged]):
        log.info(line)
    num_written = outcome.num_written + len(tables)
    log.info("wrote %d files", num_written)
    return replace(outcome, num_written=num_written)


def plan(config: Config) -> list[Job]:
    """Every scan of a request, of all shards, with its label map.

    Raises:
        SegPriorError: A scan is not there, two of them would go to one place, or contrasts do not
            belong to one scan.
    """
    from seg_prior.io import bids
    from seg_prior.io.find import find_images, find_names
    from seg_prior.output.layout import Job, plan_outputs

    images = find_names(config.images)
    contrasts = tuple(find_images(config.contrasts)) if config.contrasts else ()
    of_one = {"contrasts": "further images they are", "ignore": "mask it is"}
    for key, what in of_one.items():
        if getattr(config, key) and len(images) > 1:
            raise ConfigError(
                f"{key}: found {len(images)} scans, {images[0]} the first, need one, whose {what}. "
                "Segment the scans one by one."
            )
    for contrast in contrasts:
        if any(Path(image).exists() and contrast.samefile(image) for image in images):
            raise ConfigError(
                f"contrasts: found {contrast}, which is the scan itself, need other images of it. "
                "What is shown twice would count twice."
            )
    wanted = config.scan  # without the list of scans, which would go along with each of them
    targets = plan_outputs(images, config.out, config.bids)
    jobs = [
        Job(image, target, wanted, contrasts, config.ignore)
        for image, target in zip(images, targets, strict=True)
    ]
    if config.bids:
        bids.check_bids_folder(config.out)
    return jobs


def _results(config: Config, jobs: Iterable[Job]) -> Iterator[Path | str]:
    """All files that may be written, one after the other."""
    from seg_prior.io import bids
    from seg_prior.output.cohort_tables import tables_of
    from seg_prior.output.layout import is_file

    if config.bids:
        yield from (config.out / name for name in (bids.DESCRIPTION, bids.IGNORE, bids.README))
    for job in jobs:
        yield from job.paths
    if not is_file(config.out):
        yield from (config.out / name for name in tables_of(config))


@contextmanager
def _engine(config: Config, is_needed: bool) -> Iterator[Engine]:
    """What does tasks: this process, the workers of a cluster, or nobody."""
    from seg_prior.cohort.attempt import attempt, load
    from seg_prior.cohort.cluster import connected

    if not is_needed:
        yield lambda _: iter(())
    elif config.cluster is None:
        segmenter = load(config.reading)  # a damaged model is told before a file is written
        yield lambda tasks: ((task, attempt(task, segmenter)) for task in tasks)
    else:
        with connected(config.cluster) as engine:
            yield engine


def _segment_all(attempts: Iterable[tuple[Task, Attempt]], num: int) -> Outcome:
    """Do all of them, so many; one that fails does not stop the others."""
    failed: list[tuple[str, str]] = []
    judged: list[tuple[str, Judged]] = []
    num_written = num_busy = 0
    for task, done in progress(attempts, log, "scans", total=num, is_slow=True):
        num_written += len(done.written)
        num_busy += done.is_busy
        if done.judged:
            judged.append((task.job.scan, done.judged))
        if done.told:
            failed.append((task.job.scan, done.told))
        for remark in done.remarks:
            log.warning("%s: %s", task.job.scan, remark)
    if num_busy:
        log.info("%d of %d scans are left to another run, which has them", num_busy, num)
    return Outcome(num_written, tuple(failed), tuple(judged))
