"""Many scans in one request: which are finished, which failed, and what they are worth."""

from __future__ import annotations

import functools
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from seg_prior import __version__
from seg_prior.errors import ConfigError
from seg_prior.files import absolute, is_bare, write_json
from seg_prior.io.formats import content_sha256
from seg_prior.io.sidecar import GENERATED_BY, read_json, read_ours
from seg_prior.output.layout import Job
from seg_prior.output.ownership import EARLIER, REPLACED, Scan, check_replaceable

Request: TypeAlias = dict[str, Any]
Sidecar: TypeAlias = dict[str, Any]
_NOT_ASKED = {"model", "device", "threads"}
"""Settings that do not change what is written for a scan; of a file it is the bytes that do."""
_TOLD = (*GENERATED_BY, REPLACED, EARLIER, "files", "image", "request", "quality")
"""Keys of a sidecar that say what stands there."""


class Judged(NamedTuple):
    """What a finished scan is worth: its verdict, and a line for each rule that fired."""

    verdict: str
    findings: tuple[str, ...] = ()

    @classmethod
    def of(cls, sidecar: Sidecar) -> Judged:
        """As it was written down."""
        quality = sidecar["quality"]
        texts = tuple(finding["text"] for finding in quality["findings"])
        return cls(sys.intern(quality["verdict"]), texts)  # of many scans, one string


def resume_key(job: Job, model_sha256: str) -> Request:
    """All that the result of a scan depends on."""
    return {
        "seg_prior": __version__,
        "image_sha256": content_sha256(job.image),
        "contrasts_sha256": [content_sha256(contrast) for contrast in job.contrasts],
        "ignore_sha256": None if job.ignore is None else content_sha256(job.ignore),
        "model_sha256": model_sha256,
        "settings": job.config.model_dump(mode="json", exclude=_NOT_ASKED),
    }


def is_finished(job: Job, sidecar: Sidecar, request: Request) -> bool:
    """Whether all files of a scan are there, made of the same scan, model and settings.

    Args:
        job: The scan.
        sidecar: What stands there; empty if nothing does.
        request: The scan's `resume_key`.
    """
    return _is_made(sidecar, request) and all(map(os.path.exists, job.paths))


def _is_made(sidecar: Sidecar, request: Request) -> bool:
    return REPLACED not in sidecar and sidecar.get("request") == request


def done_and_due(
    jobs: Iterable[Job], model_sha256: str, overwrite: bool
) -> tuple[list[tuple[Job, Judged]], list[Job]]:
    """Scans that are finished, and those that are to be segmented; the latter all to overwrite.

    What the former are worth stands in sidecars, and none of them is read again for it.

    Raises:
        ConfigError: Where a result would go stands what is not ours, or another scan's: see
            `ownership`.
    """
    done: list[tuple[Job, Judged]] = []
    due: list[Job] = []
    bare = functools.cache(is_bare)
    for job in jobs:
        is_bare_place = bare(os.path.dirname(job.label_map))
        are_there = () if is_bare_place else tuple(map(os.path.exists, job.paths))
        if any(are_there):  # else no scan need be hashed
            request, before = resume_key(job, model_sha256), read_json(job.sidecar, _TOLD)
            if not overwrite and all(are_there) and _is_made(before, request):
                done.append((job, Judged.of(before)))
                continue
            scan = Scan(str(absolute(job.image)), request["image_sha256"])
            known = scan if job.image.exists() else None
            check_replaceable(job.files, before, known, overwrite)
        due.append(job)
    return done, due


def part_of(jobs: Sequence[Job], shard: str) -> list[Job]:
    """The I-th of N parts of a list, as equal as they can be.

    Raises:
        ConfigError: I is larger than N.
    """
    index, num = (int(word) for word in shard.split("/"))
    if index > num:
        raise ConfigError(f"shard: found {shard}, need I/N with I from 1 to N.")
    return list(jobs[index - 1 :: num])


def note_failure(job: Job, message: str) -> None:
    """Write down why a scan has no result; it stands in `failed.tsv` until it has one."""
    content = {"scan": str(absolute(job.image)), "message": " ".join(message.split())}
    write_json(Path(job.failure), GENERATED_BY | content)


def forget_failures(jobs: Iterable[Job]) -> None:
    """Take back what `note_failure` wrote of scans that are finished now."""
    for job in jobs:
        if read_ours(job.failure):
            Path(job.failure).unlink(missing_ok=True)


def describe_quality(judged: Sequence[tuple[str, Judged]]) -> list[str]:
    """How many scans of a request have which verdict, and a line for each that should be looked at.

    Args:
        judged: Scans that are finished, by this run or an earlier one.
    """
    # It imports torch, and what a request would read and write is told before.
    from seg_prior.quality.verdict import VERDICTS, rules

    verdicts = Counter(worth.verdict for _, worth in judged)
    if not verdicts:
        return []
    counts = ", ".join(f"{verdicts[name]} {name}" for name in VERDICTS if verdicts[name])
    lines = [f"quality control: {counts}"]
    for verdict in ("FAIL", "WARN"):
        for scan, worth in judged:
            if worth.verdict == verdict:
                lines.append(f"  {verdict} {scan}: {rules(worth.findings)}")
    if verdicts["not measured"]:
        lines.append("  the model has no calibration; seg-prior calibrate makes one")
    return lines
