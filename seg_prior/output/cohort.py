"""Many scans in one request: which are finished, which are whose, and tables of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seg_prior import __version__
from seg_prior.config.output import OutputOptions, ScanConfig
from seg_prior.core.volume import stem
from seg_prior.errors import ConfigError
from seg_prior.files import sha256_of, whole_file
from seg_prior.output import layout
from seg_prior.output.layout import Job, read_sidecar
from seg_prior.quality.verdict import VERDICTS, rules

Request = dict[str, Any]
_FILES = {"images", "contrasts", "out", "model"}
_NOT_ASKED = _FILES | {"device", "threads", "overwrite", "shard"}
"""Settings that do not change what is written for a scan; of files it is the bytes that do."""


def request_of(job: Job, config: ScanConfig, model_sha256: str) -> Request:
    """All that the result of a scan depends on."""
    return {
        "seg_prior": __version__,
        "image_sha256": sha256_of(job.image),
        "contrasts_sha256": [sha256_of(contrast) for contrast in job.contrasts],
        "model_sha256": model_sha256,
        "settings": config.model_dump(mode="json", exclude=_NOT_ASKED),
    }


def is_finished(job: Job, config: ScanConfig, model_sha256: str) -> bool:
    """Whether all files of a scan are there, made of the same scan, model and settings."""
    files = layout.files_of(job.target, config)
    if not all(file.is_file() for file in files.values()):
        return False
    found = read_sidecar(job.target).get("request")
    return found is not None and found == request_of(job, config, model_sha256)


def check_replaceable(job: Job) -> None:
    """Refuse to replace a label map that no run wrote, or the result of another scan.

    OUT forgotten, the last scan stands there; OUT the folder of the scans, perhaps what a person
    drew.

    Raises:
        ConfigError: There is one.
    """
    if not job.target.exists():
        return
    found = read_sidecar(job.target)
    if "model_sha256" not in found:
        raise ConfigError(
            f"{job.target}: found a file that segment did not write, need a place for the result. "
            "Name OUT last, after the scans, or delete the file."
        )
    if Path(found.get("source", "")).name != job.image.name:
        raise ConfigError(
            f"{job.target}: found the result of {found.get('source')}, need a place for that of "
            f"{job.image}. Name another OUT, or both scans at once."
        )


def part_of(jobs: Sequence[Job], shard: str) -> list[Job]:
    """The I-th of N parts of a list, as equal as they can be.

    Raises:
        ConfigError: I is larger than N.
    """
    index, num = (int(word) for word in shard.split("/"))
    if index > num:
        raise ConfigError(f"shard: found {shard}, need I/N with I from 1 to N.")
    return list(jobs[index - 1 :: num])


def write_failures(out: Path, shard: str, failed: Sequence[tuple[Path, str]]) -> None:
    """`failed.tsv` of this run, one line a scan; none where none failed."""
    path = out / failures_name(shard)
    if not failed:
        path.unlink(missing_ok=True)
        return
    lines = ["scan\tmessage", *(f"{scan}\t{' '.join(text.split())}" for scan, text in failed)]
    with whole_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def failures_name(shard: str) -> str:
    """`failed.tsv`; each of several shards has its own."""
    return "failed.tsv" if shard == "1/1" else f"failed_shard-{shard.replace('/', '-of-')}.tsv"


def write_volumes(out: Path, jobs: Sequence[Job], options: OutputOptions) -> Path:
    """`volumes.tsv`: the tables of all finished scans below each other, the scan in front.

    Of several shards each writes what is finished by then, the last one all.
    """
    lines = ["\t".join(("scan", *layout.VOLUME_COLUMNS))]
    for job in jobs:
        table = layout.files_of(job.target, options)["volumes"]
        if job.target.is_file() and table.is_file():
            scan = stem(job.target).removesuffix("_dseg")
            rows = table.read_text(encoding="utf-8").splitlines()[1:]
            lines += [f"{scan}\t{row}" for row in rows]
    path = out / "volumes.tsv"
    with whole_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def describe_quality(jobs: Sequence[Job]) -> list[str]:
    """How many scans of a request have which verdict, and a line for each that should be looked at.

    From the sidecars, so that scans of earlier runs count, too; nothing where none is finished.
    """
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
