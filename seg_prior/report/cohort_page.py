"""The pages of many scans: worst first, with a link to each, and their volumes side by side."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_prior import __version__
from seg_prior.report.charts import volume_chart
from seg_prior.report.page import write_page
from seg_prior.report.scan import NOT_MEASURED

ORDER = ("FAIL", "WARN", NOT_MEASURED, "PASS")
PART = 500
"""Scans of one page; so many, and a dot for each of their volumes, a browser shows at once."""


@dataclass(frozen=True, slots=True)
class CohortScan:
    """One scan, as the cohort's page lists it.

    Attributes:
        name: Of its file.
        address: Of its page, relative to the cohort's; already quoted.
        verdict: One of ORDER.
        findings: Rules that fired, one line each.
        volume_deviation: Root mean square z-score of its volumes; None without a reference.
        time_s: That its segmentation took.
        labels: Names of its structures.
        volumes_mm3: Of each of them; their names apart, because many scans share those.
    """

    name: str
    address: str
    verdict: str
    findings: tuple[str, ...]
    volume_deviation: float | None
    time_s: float
    labels: tuple[str, ...]
    volumes_mm3: array[float]


def write_cohort_pages(
    path: Path, title: str, scans: Sequence[CohortScan], failed: Sequence[tuple[str, str]]
) -> list[Path]:
    """Write HTML that lists all scans, worst first, in parts of `PART`; each whole or not at all.

    The first part, which has the summary, is written last: what it leads to is there.

    Args:
        path: Of the first part, ends in .html; missing folders are made.
        title: Heading.
        scans: None or more; those of one verdict stay in order of their volumes' deviation.
        failed: Name and reason of those that have no result.

    Returns:
        The further parts, `NAME_2.html` and so on.
    """
    ranked = sorted(scans, key=_rank)
    groups = [ranked[n : n + PART] for n in range(0, len(ranked), PART)] or [[]]
    pages = [path, *(path.with_stem(f"{path.stem}_{n + 1}") for n in range(1, len(groups)))]
    parts = [(page.name, _described(group)) for page, group in zip(pages, groups, strict=True)]
    count = Counter(scan.verdict for scan in ranked)
    for n in reversed(range(len(pages))):
        write_page(
            pages[n],
            "cohort.html",
            title=title,
            version=__version__,
            number=n + 1,
            parts=parts,
            num_scans=len(ranked),
            num_failed=len(failed),
            scans=groups[n],
            failed=failed[:PART] if n == 0 else (),
            counts=[(verdict, count[verdict]) for verdict in ORDER if count[verdict]],
            chart=_chart(ranked) if n == 0 else "",
        )
    return pages[1:]


def _described(scans: Sequence[CohortScan]) -> str:
    """Which verdicts a part has."""
    return ", ".join(dict.fromkeys(scan.verdict for scan in scans))


def _chart(ranked: Sequence[CohortScan]) -> str:
    """The volumes of all scans; empty where there is none."""
    names, volumes = _volumes(ranked)
    volumes /= 1000  # mm3 to ml, in place: of many scans nothing else is as large
    verdicts = [scan.verdict for scan in ranked[:PART]]
    return volume_chart(names, volumes, verdicts) if names else ""


def _volumes(scans: Sequence[CohortScan]) -> tuple[list[str], NDArray[np.float32]]:
    """S labels and (S, N) volumes of N scans; NaN where a scan has no such label."""
    tables = dict.fromkeys(scan.labels for scan in scans)
    place = {name: n for n, name in enumerate(dict.fromkeys(chain.from_iterable(tables)))}
    rows = {labels: [place[name] for name in labels] for labels in tables}
    volumes = np.full((len(place), len(scans)), np.nan, dtype=np.float32)
    for n, scan in enumerate(scans):
        volumes[rows[scan.labels], n] = scan.volumes_mm3
    return list(place), volumes


def _rank(scan: CohortScan) -> tuple[int, float, str]:
    deviation = 0.0 if scan.volume_deviation is None else scan.volume_deviation
    return ORDER.index(scan.verdict), -deviation, scan.name
