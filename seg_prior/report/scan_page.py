"""The page of one scan."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from seg_prior import __version__
from seg_prior.report.charts import intensity_chart
from seg_prior.report.overlay import ENTROPY_MAX_NATS
from seg_prior.report.page import vendored, write_page
from seg_prior.report.pictures import (
    css_colours,
    heat_gradient,
    montage,
    registration,
    uncertainty,
    view_of,
)
from seg_prior.report.scan import NOT_MEASURED, ScanReport, StructureVolume
from seg_prior.report.viewer import ENTROPY_LEVELS, viewer_data

_BAR_PX, _BAR_MARGIN_PX = 170, 5
# Bars run on a logarithmic scale from the reference's median by this factor to both sides; what
# lies beyond is drawn at their ends.
_BAR_FACTOR = 4.0


def write_scan_page(path: Path, report: ScanReport) -> None:
    """Write one HTML file that holds all it shows.

    Args:
        path: Ends in .html; missing folders are made; the file appears whole or not at all.
        report: What it shows.
    """
    data, view = viewer_data(report), view_of(report)
    rows = [_row(volume, report, colour) for volume, colour in _with_colours(report)]
    write_page(
        path,
        "scan.html",
        report=report,
        version=__version__,
        thinned="" if data.step == (1, 1, 1) else " × ".join(f"{n}th" for n in data.step),
        montage=montage(report, view),
        uncertainty=uncertainty(report, view),
        registration=registration(report, view),
        gradient=heat_gradient(),
        entropy_max=ENTROPY_MAX_NATS,
        volumes=rows,
        has_notes=any(row["note"] for row in rows),
        has_reference=any(volume.reference_mm3 for volume in report.volumes),
        histograms=[
            (
                contrast.name,
                contrast.weight,
                intensity_chart(contrast.intensities, contrast.gaussians),
            )
            for contrast in report.contrasts
        ],
        provenance=json.dumps(report.provenance, indent=1, ensure_ascii=False),
        data={
            "image": data.image,
            "label_map": data.label_map,
            "entropy": data.entropy,
            "labels": data.labels,
            "entropy_levels": ENTROPY_LEVELS,
            "entropy_step_nats": data.entropy_step_nats,
        },
        niivue=vendored("niivue.umd.js"),
        niivue_license=vendored("LICENSE.txt"),
    )


def _with_colours(report: ScanReport) -> list[tuple[StructureVolume, str]]:
    colours = css_colours(report)
    return [(volume, colours[volume.index]) for volume in report.volumes]


def _row(volume: StructureVolume, report: ScanReport, colour: str) -> dict[str, Any]:
    """One line of the table, as text."""
    label = report.table.labels[volume.index]
    usual = volume.reference_mm3
    return {
        "id": label.id,
        "index": volume.index,
        "name": label.name,
        "colour": colour,
        "hard_mm3": volume.hard_mm3,
        "hard": _mm3(volume.hard_mm3),
        "soft": _mm3(volume.soft_mm3),
        "calibrated": NOT_MEASURED
        if volume.calibrated_mm3 is None
        else _mm3(volume.calibrated_mm3),
        "interval": _between(volume.interval_mm3),
        "reference": _between(None if usual is None else (usual.low, usual.high)),
        "bar": _bar(volume),
        "note": "reaches the image's edge: a part may be missing" if volume.touches_edge else "",
    }


def _bar(volume: StructureVolume) -> dict[str, Any] | None:
    """Where the volume lies beside its reference, in pixels."""
    usual = volume.reference_mm3
    if usual is None or usual.middle <= 0:
        return None
    here = volume.soft_mm3

    def place(value_mm3: float) -> float:
        ratio = min(max(value_mm3 / usual.middle, 1 / _BAR_FACTOR), _BAR_FACTOR)
        half = _BAR_PX / 2 - _BAR_MARGIN_PX
        return round(_BAR_PX / 2 + half * math.log(ratio, _BAR_FACTOR), 1)

    is_usual = usual.low <= here <= usual.high
    return {
        "low": place(usual.low),
        "middle": place(usual.middle),
        "high": place(usual.high),
        "here": place(here),
        "interval": None if volume.interval_mm3 is None else [*map(place, volume.interval_mm3)],
        "ink": "#1f5f99" if is_usual else "#b3261e",
        "text": f"{here / usual.middle:.0%} of the reference's median"
        + ("" if is_usual else ", outside its middle 90 %"),
    }


def _mm3(value: float) -> str:
    return f"{value:,.0f}"


def _between(ends: tuple[float, float] | None) -> str:
    return NOT_MEASURED if ends is None else f"{_mm3(ends[0])} – {_mm3(ends[1])}"
