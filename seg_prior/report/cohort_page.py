"""The page of many scans: worst first, with a link to each, and their volumes side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seg_prior import __version__
from seg_prior.report.charts import volume_chart
from seg_prior.report.page import write_page
from seg_prior.report.scan import NOT_MEASURED

ORDER = ("FAIL", "WARN", NOT_MEASURED, "PASS")


@dataclass(frozen=True)
class CohortScan:
    """One scan, as the cohort's page lists it.

    Attributes:
        name: Of its file.
        address: Of its page, relative to the cohort's; already quoted.
        verdict: One of ORDER.
        findings: Rules that fired, one line each.
        volume_deviation: Root mean square z-score of its volumes; None without a reference.
        time_s: That its segmentation took.
        volumes_mm3: By label name.
    """

    name: str
    address: str
    verdict: str
    findings: tuple[str, ...]
    volume_deviation: float | None
    time_s: float
    volumes_mm3: dict[str, float]


def write_cohort_page(
    path: Path, title: str, scans: Sequence[CohortScan], failed: Sequence[tuple[str, str]]
) -> None:
    """Write one HTML file that lists all scans, worst first; whole or not at all.

    Args:
        path: Ends in .html; missing folders are made.
        title: Heading.
        scans: None or more; those of one verdict stay in order of their volumes' deviation.
        failed: Name and reason of those that have no result.
    """
    ranked = sorted(scans, key=_rank)
    names = list(dict.fromkeys(name for scan in ranked for name in scan.volumes_mm3))
    volumes_ml = [[scan.volumes_mm3.get(name, np.nan) / 1000 for scan in ranked] for name in names]
    verdicts = [scan.verdict for scan in ranked]
    count = Counter(verdicts)
    write_page(
        path,
        "cohort.html",
        title=title,
        version=__version__,
        scans=ranked,
        failed=failed,
        counts=[(verdict, count[verdict]) for verdict in ORDER if count[verdict]],
        chart=volume_chart(names, np.array(volumes_ml), verdicts) if names else "",
    )


def _rank(scan: CohortScan) -> tuple[int, float, str]:
    deviation = 0.0 if scan.volume_deviation is None else scan.volume_deviation
    return ORDER.index(scan.verdict), -deviation, scan.name
