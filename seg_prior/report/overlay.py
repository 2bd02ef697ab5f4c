"""Pictures of label maps on scans, by which a person can judge a segmentation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.grid import Grid
from seg_prior.core.label_colours import Rgb, label_colours
from seg_prior.core.labels import BACKGROUND, LabelTable
from seg_prior.files import atomic_write
from seg_prior.report.slices import (
    PLANES,
    Plane,
    View,
    borders,
    cut,
    find_view,
    magnify_linear,
    magnify_nearest,
)

PLANE_PX, GAP_PX, TITLE_PX, LEGEND_ROW_PX, BAR_PX = 420, 10, 26, 20, 84
FILL_OPACITY, BORDER_OPACITY = 0.25, 0.9
# Two labels equally likely: the brightest colour of an entropy picture.
ENTROPY_MAX_NATS = float(np.log(2))
_DPI = 100
_WINDOW_SAMPLES = 100_000


@dataclass(frozen=True, eq=False)
class Panel:
    """One scan or method, shown in an axial, a coronal and a sagittal slice.

    What is given is drawn: a grey image, label colours over it (solid without an image), or the
    entropy alone.

    Attributes:
        title: Stands above the slices.
        grid: Of all three arrays; any orientation, obliquity and spacing.
        image: (I, J, K), any unit.
        label_map: (I, J, K) label indices into the table, not ids.
        entropy: (I, J, K), in nats.
    """

    title: str
    grid: Grid
    image: NDArray[Any] | None = None
    label_map: NDArray[np.integer[Any]] | None = None
    entropy: NDArray[np.floating[Any]] | None = None


def write_overlay(
    path: Path, panels: Sequence[Panel], table: LabelTable, num_columns: int = 1
) -> None:
    """Write a PNG sheet of panels, row by row, with a legend of the labels that occur.

    Panels on one grid show the same slices. The patient's left is on the left. Slices follow the
    array's axes, so an oblique scan is seen as it was taken. The file appears whole or not at all.

    Args:
        path: Ends in .png; missing folders are made.
        panels: At least one.
        table: Names and, by the index, colours.
        num_columns: Panels side by side.
    """
    views = _views(panels, table)
    strips = [render_panel(panel, view, table) for panel, view in zip(panels, views, strict=True)]
    bar_px = BAR_PX if any(panel.entropy is not None for panel in panels) else 0
    cell_width = max(strip.shape[1] for strip in strips) + GAP_PX + bar_px
    cell_height = max(strip.shape[0] for strip in strips) + GAP_PX + TITLE_PX
    entries = _legend_entries(panels, table)
    width = num_columns * cell_width + GAP_PX
    entry_px = 60 + 7 * max((len(name) for name, _ in entries), default=0)
    legend_rows = -(-len(entries) // max(1, width // entry_px))
    legend_height = legend_rows * LEGEND_ROW_PX + GAP_PX
    height = -(-len(panels) // num_columns) * cell_height + legend_height

    sheet = _new_sheet(width, height)
    for index, (panel, view, strip) in enumerate(zip(panels, views, strips, strict=True)):
        row, column = divmod(index, num_columns)
        left, top = column * cell_width + GAP_PX, row * cell_height + TITLE_PX
        _draw_strip(sheet, (left, top), panel, view, strip)
    for index, (name, colours) in enumerate(entries):
        column, row = divmod(index, legend_rows)
        top = height - legend_height + row * LEGEND_ROW_PX
        _draw_legend_entry(sheet, (column * entry_px + GAP_PX, top), name, colours)
    with atomic_write(path) as temporary:
        sheet.figure.savefig(temporary, format="png", facecolor="black")


def write_montage(
    path: Path,
    label_maps: Sequence[NDArray[np.integer[Any]]],
    titles: Sequence[str],
    grid: Grid,
    table: LabelTable,
) -> None:
    """Write a PNG of label maps on one grid, the same slices of each; indices, not ids."""
    panels = [
        Panel(title, grid, label_map=label_map)
        for title, label_map in zip(titles, label_maps, strict=True)
    ]
    # A strip is about three times as wide as high.
    write_overlay(path, panels, table, num_columns=max(1, round((len(panels) / 3) ** 0.5)))


def render_panel(panel: Panel, view: View, table: LabelTable) -> Rgb:
    """(H, W, 3) the three slices side by side at one scale, first row on top, black around them.

    The same scan gives the same pixels however the axes of its array are ordered and flipped.
    """
    colours = label_colours(table)
    widths, heights = _sizes_px(view)
    picture = np.zeros((max(heights), sum(widths) + 2 * GAP_PX, 3))
    left = 0
    for plane, width, height in zip(PLANES, widths, heights, strict=True):
        pixels = render_slice(panel, view, plane, (width, height), colours)
        top = (max(heights) - height) // 2
        picture[top : top + height, left : left + width] = pixels.transpose(1, 0, 2)[::-1]
        left += width + GAP_PX
    return picture


def _sizes_px(view: View) -> tuple[list[int], list[int]]:
    """Widths and heights of the three slices; the longest edge of the box is PLANE_PX."""
    edges = np.maximum(np.rint(view.extent_mm * PLANE_PX / view.extent_mm.max()), 1).astype(int)
    return (
        [int(edges[plane.horizontal]) for plane in PLANES],
        [int(edges[plane.vertical]) for plane in PLANES],
    )


def render_slice(
    panel: Panel,
    view: View,
    plane: Plane,
    shape: tuple[int, int],
    colours: Rgb,
    fill: float = FILL_OPACITY,
) -> Rgb:
    """(horizontal, vertical, 3) one slice, from left to right and upwards.

    Args:
        panel: What is drawn.
        view, plane: Which slice.
        shape: Pixels of the two axes.
        colours: (L, 3), of the labels.
        fill: Opacity of labels within their borders, over an image.
    """
    if panel.entropy is not None:
        entropy = magnify_linear(cut(panel.entropy, panel.grid, view, plane), shape)
        return heat(entropy / ENTROPY_MAX_NATS)
    picture: Rgb = np.zeros((*shape, 3))
    if panel.image is not None:
        low, high = window(panel.image)
        grey = magnify_linear(cut(panel.image, panel.grid, view, plane), shape)
        picture += np.clip((grey - low) / (high - low), 0, 1)[..., None]
    if panel.label_map is not None:
        labels = magnify_nearest(cut(panel.label_map, panel.grid, view, plane), shape)
        opacity = np.where(borders(labels), BORDER_OPACITY, fill)
        if panel.image is None:
            opacity = np.ones(shape)
        opacity = (opacity * (labels != BACKGROUND))[..., None]
        picture = (1 - opacity) * picture + opacity * colours[labels]
    return picture


def _views(panels: Sequence[Panel], table: LabelTable) -> list[View]:
    """One view a panel; panels on one grid share theirs."""
    grids: list[Grid] = []
    for panel in panels:
        if not any(panel.grid.same_as(grid) for grid in grids):
            grids.append(panel.grid)
    views = []
    for grid in grids:
        label_maps = [
            panel.label_map
            for panel in panels
            if panel.label_map is not None and panel.grid.same_as(grid)
        ]
        views.append(find_view(label_maps, grid, table.partner))
    return [
        next(view for grid, view in zip(grids, views, strict=True) if panel.grid.same_as(grid))
        for panel in panels
    ]


def window(image: NDArray[Any]) -> tuple[float, float]:
    """Intensities shown black and white; zeros, which stand for no data, have no say."""
    shown = image[image != 0]
    if not shown.size:
        return 0.0, 1.0
    # A regular sample is enough, and many slices ask for it.
    sample = shown[:: max(1, shown.size // _WINDOW_SAMPLES)]
    low, high = np.percentile(sample, (0.5, 99.7)).tolist()
    return low, max(high, float(np.nextafter(low, np.inf)))


def heat(fraction: NDArray[np.float64]) -> Rgb:
    """Colours of an entropy picture, (...) of 0..1 -> (..., 3)."""
    from matplotlib import colormaps

    return np.asarray(colormaps["magma"](np.clip(fraction, 0, 1))[..., :3])


def _legend_entries(panels: Sequence[Panel], table: LabelTable) -> list[tuple[str, list[Any]]]:
    """Name and colours of the labels that any panel holds; a pair is one entry of two colours."""
    counts = np.zeros(len(table), dtype=int)
    for panel in panels:
        if panel.label_map is not None:
            counts += np.bincount(panel.label_map.ravel(), minlength=len(table))
    colours = label_colours(table)
    entries = []
    for index, partner in enumerate(table.partner.tolist()):
        if index == BACKGROUND or partner < index or not counts[index] + counts[partner]:
            continue
        if partner == index:
            entries.append((table.names[index], [colours[index]]))
        else:
            name = re.sub(r"^left[-_ ]?", "", table.names[index], flags=re.IGNORECASE)
            entries.append((name, [colours[index], colours[partner]]))
    return entries


def _new_sheet(width: int, height: int) -> Any:
    """Axes that fill a black figure; their unit is a pixel, counted from the upper left."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_autoscale_on(False)
    return axes


def _draw_strip(sheet: Any, corner: tuple[int, int], panel: Panel, view: View, strip: Rgb) -> None:
    left, top = corner
    height, width = strip.shape[:2]
    sheet.imshow(
        strip,
        extent=(left, left + width, top + height, top),
        interpolation="nearest",
        aspect="auto",
    )
    sheet.text(left, top - 8, panel.title, color="white", fontsize=12, va="baseline")
    backdrop = {"facecolor": "black", "edgecolor": "none", "alpha": 0.5, "pad": 1}
    letter = {"color": "white", "fontsize": 10, "bbox": backdrop}
    for plane, plane_width in zip(PLANES, _sizes_px(view)[0], strict=True):
        middle = top + height / 2
        right = left + plane_width
        sheet.text(left + 3, middle, plane.left, ha="left", va="center", **letter)
        sheet.text(right - 3, middle, plane.right, ha="right", va="center", **letter)
        sheet.text((left + right) / 2, top + 3, plane.top, ha="center", va="top", **letter)
        left += plane_width + GAP_PX
    if panel.entropy is not None:
        _draw_bar(sheet, left, top, height)


def _draw_bar(sheet: Any, left: int, top: int, height: int) -> None:
    """A scale of the entropy colours beside a strip."""
    ramp = heat(np.linspace(1, 0, height)[:, None])
    sheet.imshow(ramp, extent=(left, left + 12, top + height, top), aspect="auto")
    for nats in (0.0, 0.2, 0.4, 0.6):
        y = top + height * (1 - nats / ENTROPY_MAX_NATS)
        sheet.text(left + 17, y, f"{nats:.1f}", color="white", fontsize=10, va="center")
    sheet.text(
        left + 60, top + height / 2, "entropy / nats", color="white", fontsize=10, rotation=90,
        ha="center", va="center",
    )  # fmt: skip


def _draw_legend_entry(sheet: Any, corner: tuple[int, int], name: str, colours: list[Any]) -> None:
    from matplotlib.patches import Rectangle

    x, y = corner
    for side, colour in enumerate(colours):
        sheet.add_patch(Rectangle((x + 14 * side, y + 3), 14, 12, color=colour))
    sheet.text(x + 34, y + 9, name, color="white", fontsize=10, va="center_baseline")
