"""Slices of a scan as pictures that a page holds in itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from seg_prior.core.label_colours import Rgb, label_colours
from seg_prior.core.labels import BACKGROUND
from seg_prior.report.overlay import Panel, heat, render_slice
from seg_prior.report.scan import ScanReport
from seg_prior.report.slices import (
    AXIAL,
    CORONAL,
    PLANES,
    SAGITTAL,
    Plane,
    View,
    find_view,
)

PLANE_NAMES = {AXIAL: "axial", CORONAL: "coronal", SAGITTAL: "sagittal"}
MONTAGE_SLICES, MONTAGE_PX, LARGE_PX = 6, 330, 480
# Of the anatomy, on either side, that the montage leaves out: slices there graze it.
_MARGIN = 0.12
_JPEG_QUALITY = 88


class Picture(NamedTuple):
    """One slice.

    Attributes:
        uri: The picture itself, as a data URI.
        text: What it shows, for those who do not see it.
        left, right, top: Letters of the body's sides at its edges.
        width, height: In pixels.
    """

    uri: str
    text: str
    left: str
    right: str
    top: str
    width: int
    height: int


def view_of(report: ScanReport) -> View:
    """Slices by the structures one asks for; nuisance labels frame nothing."""
    is_shown = report.table.is_structure[report.label_map]
    structures = np.where(is_shown, report.label_map, BACKGROUND)
    return find_view([structures], report.grid, report.table.partner)


def montage(
    report: ScanReport, view: View, longest_px: int = MONTAGE_PX
) -> dict[str, list[Picture]]:
    """Plane -> slices through the anatomy at equal distances, labels over the scan."""
    panel = Panel("", report.grid, report.image, report.label_map)
    return {
        PLANE_NAMES[plane]: [
            _picture(panel, step, plane, longest_px, report, "labels")
            for step in _steps(view, plane)
        ]
        for plane in PLANES
    }


def uncertainty(report: ScanReport, view: View) -> list[Picture]:
    """The posterior's entropy, a slice in each plane."""
    panel = Panel("", report.grid, entropy=report.entropy)
    return [_picture(panel, view, plane, LARGE_PX, report, "entropy") for plane in PLANES]


def registration(report: ScanReport, view: View) -> list[Picture]:
    """Outlines of the prior's labels where registration laid them, a slice in each plane."""
    panel = Panel("", report.grid, report.image, report.prior_map)
    return [
        _picture(panel, view, plane, LARGE_PX, report, "outlines of the prior", fill=0)
        for plane in PLANES
    ]


def heat_gradient() -> str:
    """The colours of the entropy pictures from low to high, as a CSS gradient."""
    stops = (255 * heat(np.linspace(0, 1, 12))).round().astype(int).tolist()
    return f"linear-gradient(to right, {', '.join(f'rgb({r} {g} {b})' for r, g, b in stops)})"


def css_colours(report: ScanReport) -> list[str]:
    """L colours of the labels, as CSS writes them."""
    return [css_colour(rgb) for rgb in label_colours(report.table)]


def css_colour(rgb: Rgb) -> str:
    """#rrggbb of (3,) in 0..1."""
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in rgb)


def svg_uri(draw: Callable[[Any], None], width_in: float, height_in: float) -> str:
    """A drawing of matplotlib's as a data URI.

    Args:
        draw: Fills the figure that it is given.
        width_in, height_in: Size in inches, of 96 CSS pixels.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasSVG(figure)
    draw(figure)
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "seg-prior"}):  # the same drawing, the same bytes
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return data_uri("image/svg+xml", buffer.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """Content that a page holds where others hold an address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _steps(view: View, plane: Plane) -> Iterator[View]:
    """The view at equal distances along the normal of a plane."""
    normal = 3 - plane.horizontal - plane.vertical
    length = view.stop[normal] - view.start[normal]
    for fraction in np.linspace(_MARGIN, 1 - _MARGIN, MONTAGE_SLICES):
        center = view.center.copy()
        center[normal] = view.start[normal] + int(fraction * (length - 1))
        yield replace(view, center=center)


def _picture(
    panel: Panel,
    view: View,
    plane: Plane,
    longest_px: int,
    report: ScanReport,
    what: str,
    **style: float,
) -> Picture:
    from matplotlib.image import imsave

    edges = np.maximum(np.rint(view.extent_mm * longest_px / view.extent_mm.max()), 1).astype(int)
    shape = (int(edges[plane.horizontal]), int(edges[plane.vertical]))
    pixels = render_slice(panel, view, plane, shape, label_colours(report.table), **style)
    buffer = io.BytesIO()
    imsave(
        buffer,
        np.ascontiguousarray(pixels.transpose(1, 0, 2)[::-1]),
        format="jpeg",
        pil_kwargs={"quality": _JPEG_QUALITY},
    )
    normal = 3 - plane.horizontal - plane.vertical
    text = f"{PLANE_NAMES[plane]} slice {int(view.center[normal])}, {what}"
    uri = data_uri("image/jpeg", buffer.getvalue())
    return Picture(uri, text, plane.left, plane.right, plane.top, *shape)
