"""The page of all scans of a folder, from the files that were written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from seg_prior.io.tables import read_table
from seg_prior.report.cohort_page import CohortScan, write_cohort_page

COHORT_PAGE = "report.html"


def write_cohort(
    out: Path,
    results: Sequence[tuple[dict[str, Any], Path | None, Path | None]],
    failed: Sequence[tuple[str, str]],
) -> Path:
    """`report.html`: every finished scan that has a page of its own and volumes.

    Args:
        out: The folder of results.
        results: Of each finished scan its sidecar, its page and its table of volumes.
        failed: Scans that failed, and why.
    """
    scans = [
        _cohort_scan(out, sidecar, page, volumes)
        for sidecar, page, volumes in results
        if page is not None and volumes is not None
    ]
    path = out / COHORT_PAGE
    write_cohort_page(path, out.resolve().name, scans, failed)
    return path


def _cohort_scan(out: Path, sidecar: dict[str, Any], page: Path, volumes: Path) -> CohortScan:
    quality = sidecar["quality"]
    return CohortScan(
        name=Path(sidecar["source"]).name,
        address=quote(os.fsencode(page.relative_to(out))),  # of any bytes, UTF-8 or not
        verdict=quality["verdict"],
        findings=tuple(finding["text"] for finding in quality["findings"]),
        volume_deviation=quality["measures"].get("volume_deviation"),
        time_s=sum(sidecar["seconds"].values()),
        volumes_mm3={
            row["name"]: float(row["posterior_volume_mm3"]) for row in read_table(volumes)
        },
    )
