"""The page of all scans of a folder, from the files that were written."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from seg_prior.config.output import OutputOptions
from seg_prior.output import layout
from seg_prior.output.layout import Job, read_sidecar
from seg_prior.report.cohort_page import CohortScan, write_cohort_page

COHORT_PAGE = "report.html"


def write_cohort(
    out: Path, jobs: Sequence[Job], failed: Sequence[tuple[Path, str]], options: OutputOptions
) -> Path:
    """`report.html`: every finished scan of a request, made of the files that were written.

    Args:
        out: The folder of the request.
        jobs: All scans, of all shards.
        failed: Scans that failed in this run, and why.
        options: What was written for each.
    """
    scans = [
        _cohort_scan(out, job, options)
        for job in jobs
        if all(file.is_file() for file in layout.files_of(job.target, options).values())
    ]
    path = out / COHORT_PAGE
    write_cohort_page(path, out.resolve().name, scans, [(str(s), text) for s, text in failed])
    return path


def _cohort_scan(out: Path, job: Job, options: OutputOptions) -> CohortScan:
    files, sidecar = layout.files_of(job.target, options), read_sidecar(job.target)
    quality = sidecar["quality"]
    with files["volumes"].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return CohortScan(
        name=Path(sidecar["source"]).name,
        address=quote(files["report"].relative_to(out).as_posix()),
        verdict=quality["verdict"],
        findings=tuple(finding["text"] for finding in quality["findings"]),
        volume_deviation=quality["measures"].get("volume_deviation"),
        time_s=sum(sidecar["seconds"].values()),
        volumes_mm3={row["name"]: float(row["posterior_volume_mm3"]) for row in rows},
    )
