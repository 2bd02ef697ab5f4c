"""One scan of a request: whoever does it, here or on a cluster, does the same."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from seg_prior.api import Segmenter
from seg_prior.config.inference import ReadingConfig
from seg_prior.core.device import start
from seg_prior.errors import OutputError, SegPriorError
from seg_prior.files import claimed
from seg_prior.io.sidecar import read_json
from seg_prior.output import cohort
from seg_prior.output.cohort import Judged
from seg_prior.output.layout import Job

log = logging.getLogger(__name__)


class Task(NamedTuple):
    """A scan to segment.

    Attributes:
        job: Its files and settings.
        overwrite: Whether what is finished is done again.
        in_folder: Whether the results lie in a folder of many, where failures are noted.
        is_alone: Whether it is the only scan, whose failure is the request's.
    """

    job: Job
    overwrite: bool
    in_folder: bool
    is_alone: bool


class Attempt(NamedTuple):
    """What became of a task.

    Attributes:
        written: Its files; none where another run had finished it.
        told: Why it failed; empty where it did not.
        judged: What its result is worth; None where it has none, or another run works on it.
        remarks: What is odd about its result, one line each.
        is_busy: Whether it was left to another run, which works on it.
    """

    written: tuple[Path, ...] = ()
    told: str = ""
    judged: Judged | None = None
    remarks: tuple[str, ...] = ()
    is_busy: bool = False


def load(config: ReadingConfig) -> Segmenter:
    """Prepare this process and load the model.

    Raises:
        CheckpointError: The model is damaged.
        ConfigError: The device is not there.
    """
    start(config)
    return Segmenter.of(config)


def attempt(task: Task, segmenter: Segmenter) -> Attempt:
    """Segment a scan, unless another run has finished it or works on it.

    Raises:
        OutputError: The disk is full, or there is no leave to write: no fault of the scan, and the
            next one would fare no better.
        Exception: Whatever the only scan of a request fails by.
    """
    job = task.job
    with claimed(job.target) as is_mine:
        if not is_mine:
            return Attempt(is_busy=True)
        try:
            return _segment(task, segmenter)
        except OutputError:
            raise
        except Exception as error:
            # What nobody foresaw in one of a thousand scans must not cost the other ones.
            is_told = isinstance(error, SegPriorError)
            told = str(error) if is_told else f"{job.image}: {type(error).__name__}: {error}"
            if task.in_folder:
                cohort.note_failure(job, told)
            if task.is_alone:
                raise
            return Attempt(told=told)


def _segment(task: Task, segmenter: Segmenter) -> Attempt:
    job = task.job
    request = cohort.resume_key(job, segmenter.model.sha256)
    before = read_json(job.sidecar)
    if not task.overwrite and cohort.is_finished(job, before, request):
        return Attempt(judged=Judged.of(before))  # by another run, since this one began
    result = segmenter.segment(job.image, contrasts=job.contrasts, ignore=job.ignore)
    written = result.write(job.target, job.config, request, task.overwrite)
    if task.in_folder:
        cohort.forget_failures([job])
    steps = ", ".join(f"{name} {time_s:.1f} s" for name, time_s in result.seconds.items())
    log.debug("%s: %s, %s", job.image, result.qc.verdict, steps)
    judged = Judged(result.qc.verdict, tuple(finding.text for finding in result.qc.findings))
    return Attempt(written, judged=judged, remarks=result.remarks)
