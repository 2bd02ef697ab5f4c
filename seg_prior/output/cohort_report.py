"""The pages of all scans of a folder, from the files that were written."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from seg_prior.io.tables import Columns
from seg_prior.output.layout import VOLUME_COLUMNS
from seg_prior.output.results import Result
from seg_prior.report.cohort_page import CohortScan, write_cohort_pages

COHORT_PAGE = "report.html"
_NAME, _VOLUME = map(VOLUME_COLUMNS.index, ("name", "posterior_volume_mm3"))


class CohortPages:
    """`report.html` and its further parts: every finished scan that has a page of its own."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._scans: list[CohortScan] = []
        self._labels: dict[tuple[str, ...], tuple[str, ...]] = {}

    def add(self, result: Result, volumes: Columns) -> None:
        """A scan, and its table of volumes; a few hundred bytes are kept of it."""
        page, quality = result.file("_report.html"), result.sidecar["quality"]
        if page is None:
            return
        labels = tuple(volumes.cells[_NAME])
        self._scans.append(
            CohortScan(
                name=os.path.basename(result.sidecar["source"]),
                address=quote(os.fsencode(page)),  # of any bytes, UTF-8 or not
                verdict=quality["verdict"],
                findings=tuple(finding["text"] for finding in quality["findings"]),
                volume_deviation=quality["measures"].get("volume_deviation"),
                time_s=sum(result.sidecar["seconds"].values()),
                labels=self._labels.setdefault(labels, labels),  # most scans share them
                volumes_mm3=array("f", [*map(float, volumes.cells[_VOLUME])]),
            )
        )

    def write(self, failed: Sequence[tuple[str, str]]) -> list[Path]:
        """Write the pages; those of an earlier, longer list go.

        Args:
            failed: Scans that failed, and why.

        Returns:
            The parts beside `report.html`.
        """
        path = self._out / COHORT_PAGE
        parts = write_cohort_pages(path, self._out.resolve().name, self._scans, failed)
        for old in parts_in(self._out):
            if old not in parts:
                old.unlink(missing_ok=True)
        return parts


def parts_in(out: Path) -> list[Path]:
    """The parts that stand in a folder of results, beside its `report.html`."""
    named = re.compile(r"report_\d+\.html")  # a scan `report_2` has a page `report_2_report.html`
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(out) as entries:
        return [out / entry.name for entry in entries if named.fullmatch(entry.name)]
    return []
