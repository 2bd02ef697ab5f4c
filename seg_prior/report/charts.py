"""Charts of a page: intensities with their Gaussians, and a cohort's volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_prior.report.pictures import svg_uri
from seg_prior.report.scan import Gaussian

_NUM_BINS = 160
_DOT: dict[str, Any] = {
    "linestyle": "",
    "marker": "o",
    "markersize": 4,
    "markeredgewidth": 0,
    "alpha": 0.8,
}
_INK, _SHADE, _BAR = "#1d2733", "#d5dce4", "#5b6b7c"


def intensity_chart(intensities: NDArray[np.float32], gaussians: Sequence[Gaussian]) -> str:
    """A histogram with the density of every class, and of all together; an SVG as a data URI.

    Args:
        intensities: (N,) normalised; N may be 0.
        gaussians: Those of one tie are drawn as one curve.
    """

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        # A contrast may show nothing of the anatomy.
        ends = np.percentile(intensities, (0.1, 99.9)).tolist() if intensities.size else (0, 1)
        margin = 0.05 * max(ends[1] - ends[0], 1e-6)
        limits = (ends[0] - margin, ends[1] + margin)
        x = np.linspace(*limits, 400)
        if intensities.size:
            axes.hist(
                intensities, _NUM_BINS, range=limits, density=True, color=_SHADE, label="scan"
            )
        total = np.zeros_like(x)
        names = list(dict.fromkeys(gaussian.name for gaussian in gaussians))
        for name, colour in zip(names, _palette(len(names)), strict=True):
            members = [gaussian for gaussian in gaussians if gaussian.name == name]
            density = np.sum([_density(x, gaussian) for gaussian in members], axis=0)
            share = sum(gaussian.share for gaussian in members)
            axes.plot(x, density, color=colour, linewidth=1.4, label=f"{name}, {share:.0%}")
            total += density
        axes.plot(x, total, color=_INK, linewidth=1.2, linestyle="--", label="sum")
        axes.set_xlabel("normalised intensity")
        axes.set_ylabel("density")
        axes.set_xlim(limits)
        _plain(axes)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8.5)

    return svg_uri(draw, 10, 3.6)


def volume_chart(
    names: Sequence[str], volumes_ml: NDArray[np.floating[Any]], verdicts: Sequence[str]
) -> str:
    """A cohort's volumes, a row for each structure, on a logarithmic axis; an SVG as a data URI.

    Args:
        names: S structures.
        volumes_ml: (S, N) of N scans; NaN where a scan has none.
        verdicts: Of the first M scans, which are dots; those not PASS stand out. Where M < N, bars
            show between which volumes 5 to 95 % and 25 to 75 % of all scans lie.
    """
    colours = {"PASS": "#1f5f99", "WARN": "#d08400", "FAIL": "#b3261e"}
    ink = np.array([colours.get(verdict, "#5b6b7c") for verdict in verdicts], dtype=object)
    num_dots, num_scans = len(verdicts), volumes_ml.shape[1]

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        spread = np.linspace(-0.18, 0.18, num_dots) if num_dots > 1 else np.zeros(1)
        for row, values in enumerate(volumes_ml):
            is_shown = values > 0  # NaN and nothing are not drawn
            if not is_shown.any():
                continue
            if num_dots < num_scans:
                low, lower, upper, high = np.percentile(values[is_shown], (5, 25, 75, 95))
                for left, right, width in ((low, high, 1.5), (lower, upper, 4.0)):
                    axes.plot([left, right], [row + 0.38] * 2, color=_BAR, linewidth=width)
            for colour in dict.fromkeys(ink):
                dots = is_shown[:num_dots] & (ink == colour)
                axes.plot(values[:num_dots][dots], row + spread[dots], color=colour, **_DOT)
            middle = float(np.median(values[is_shown]))
            axes.plot([middle, middle], [row - 0.32, row + 0.32], color=_INK, linewidth=1.2)
        axes.set_xscale("log")
        axes.set_yticks(range(len(names)), names, fontsize=8.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("volume / ml, logarithmic; the line is the median")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(axis="y", color="0.93")
        _plain(axes)

    return svg_uri(draw, 10, 0.9 + 0.26 * len(names))


def _density(x: NDArray[np.float64], gaussian: Gaussian) -> NDArray[np.float64]:
    scaled = (x - gaussian.mean) / gaussian.sd
    scale = gaussian.share / (gaussian.sd * np.sqrt(2 * np.pi))
    return np.asarray(scale * np.exp(-0.5 * scaled**2))


def _palette(num: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["turbo"](0.06 + 0.88 * n / max(num - 1, 1)) for n in range(num)]


def _plain(axes: Any) -> None:
    axes.grid(axis="x", color="0.93")
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)
