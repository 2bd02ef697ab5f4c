"""Many scans in one request: which are finished, which failed, and what they are worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from seg_prior import __version__
from seg_prior.config.output import OutputOptions, ScanConfig
from seg_prior.errors import ConfigError
from seg_prior.files import absolute, write_json
from seg_prior.io.formats import content_sha256
from seg_prior.io.sidecar import GENERATED_BY, is_ours, read_json
from seg_prior.output import layout, ownership
from seg_prior.output.layout import Job, read_sidecar
from seg_prior.output.ownership import REPLACED, Scan

Request = dict[str, Any]
_FILES = {"images", "contrasts", "ignore", "out", "model"}
_NOT_ASKED = _FILES | {"device", "threads", "overwrite", "shard", "cluster"}
"""Settings that do not change what is written for a scan; of files it is the bytes that do."""


def resume_key(job: Job, config: ScanConfig, model_sha256: str) -> Request:
    """All that the result of a scan depends on."""
    return {
        "seg_prior": __version__,
        "image_sha256": content_sha256(job.image),
        "contrasts_sha256": [content_sha256(contrast) for contrast in job.contrasts],
        "ignore_sha256": None if job.ignore is None else content_sha256(job.ignore),
        "model_sha256": model_sha256,
        "settings": config.model_dump(mode="json", exclude=_NOT_ASKED),
    }


def is_finished(job: Job, config: ScanConfig, model_sha256: str) -> bool:
    """Whether all files of a scan are there, made of the same scan, model and settings."""
    files = layout.files_of(job.target, config)
    if not all(file.exists() for file in (*job.inputs, *files.values())):
        return False
    sidecar = read_sidecar(job.target)
    if REPLACED in sidecar or sidecar.get("request") is None:
        return False
    return bool(sidecar["request"] == resume_key(job, config, model_sha256))


def check_replaceable(job: Job, options: OutputOptions, overwrite: bool) -> None:
    """Refuse to replace what is not ours, or the result of another scan: see `ownership`.

    Raises:
        ConfigError: There is such a file.
    """
    scan = Scan.at(job.image) if job.image.exists() else None
    ownership.check_replaceable(job.target, options, scan, overwrite)


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
    write_json(layout.failure_of(job.target), GENERATED_BY | content)


def forget_failure(job: Job) -> None:
    """Take back what `note_failure` wrote of a scan that is finished now."""
    note = layout.failure_of(job.target)
    if is_ours(read_json(note)):
        note.unlink(missing_ok=True)


def describe_quality(jobs: Sequence[Job]) -> list[str]:
    """How many scans of a request have which verdict, and a line for each that should be looked at.

    From the sidecars, so that scans of earlier runs count, too; nothing where none is finished.
    """
    # It imports torch, and what a request would read and write is told before.
    from seg_prior.quality.verdict import VERDICTS, rules

    sidecars = [(job, read_sidecar(job.target)) for job in jobs if job.target.is_file()]
    found = [(job, sidecar["quality"]) for job, sidecar in sidecars if "quality" in sidecar]
    verdicts = Counter(quality["verdict"] for _, quality in found)
    if not verdicts:
        return []
    counts = ", ".join(f"{verdicts[name]} {name}" for name in VERDICTS if verdicts[name])
    lines = [f"quality control: {counts}"]
    for verdict in ("FAIL", "WARN"):
        for job, quality in found:
            if quality["verdict"] == verdict:
                fired = rules([finding["text"] for finding in quality["findings"]])
                lines.append(f"  {verdict} {job.image}: {fired}")
    if verdicts["not measured"]:
        lines.append("  the model has no calibration; seg-prior calibrate makes one")
    return lines
