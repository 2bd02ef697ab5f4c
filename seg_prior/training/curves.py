"""Pictures of how a training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_prior.files import atomic_write
from seg_prior.io.tables import read_table

STEP = "step"
_DPI = 100
# A run of this share of the rows is averaged by the bold line.
_SMOOTHED_SHARE = 0.05
_MEANING = {
    "nll": "nats a voxel that the reconstruction leaves, on random anatomies",
    "kl": "nats a voxel that z costs; counts fully from the first dotted line on",
    "sliced": "how far codes are from N(0, I); counts fully from the first dotted line on",
    "val_dice": "Dice of reconstructed maps; dashed: atlas",
    "val_nll": "nats a voxel that reconstructions leave; dashed: atlas",
    "val_kl": "nats a voxel that z costs on the same maps",
    "val_active_units": "numbers of z that cost 0.05 nats or more",
}
"""What is drawn of a prior, for those who meet it for the first time."""
_BESIDE = {"val_dice": "val_atlas_dice", "val_nll": "val_atlas_nll"}
"""What does not change while the column beside it does, in one plot with it."""
_UNDRAWN = ("val_dice_sd",)


def draw_log(folder: Path, marks: Mapping[int, str] | None = None) -> None:
    """Draw the log.csv of a training folder as log.png beside it, with marked steps."""
    write_loss_curve(folder / "log.png", read_table(folder / "log.csv"), marks or {})


def write_loss_curve(
    path: Path,
    rows: Sequence[Mapping[str, float | str | None]],
    marks: Mapping[int, str],
) -> None:
    """Write a PNG of every column of a training log against its steps, one plot a column.

    A thin line joins the values, a bold one their running median; what the columns of a prior mean
    stands above them, and the atlas, where it was measured beside, is a dashed line.

    Args:
        path: Ends in .png; missing folders are made; the file appears whole or not at all.
        rows: At least one; each with "step" and any other numeric columns, as numbers or as a CSV
            reader gives them. Empty, missing and non-finite values are not drawn.
        marks: Step -> what happens there.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for row in rows for name in row if name != STEP))
    names = [name for name in names if name not in (*_BESIDE.values(), *_UNDRAWN)]
    num_columns = min(2, max(1, len(names)))
    num_rows = max(1, -(-len(names) // num_columns))
    figure = Figure(figsize=(5.5 * num_columns, 2.6 * num_rows), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for index, name in enumerate(names):
        axes = figure.add_subplot(num_rows, num_columns, index + 1)
        _draw_column(axes, name, *_column(rows, name))
        _, beside = _column(rows, _BESIDE.get(name, ""))
        if beside.size:
            axes.axhline(beside[-1], color="#b5651d", linewidth=1, linestyle="--")
        for step, text in marks.items():
            axes.axvline(step, color="0.5", linewidth=0.8, linestyle=":")
            if index == 0:
                top = axes.get_xaxis_transform()
                axes.text(step, 0.97, f" {text}", transform=top, va="top", fontsize=7, color="0.35")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")


def _column(
    rows: Sequence[Mapping[str, float | str | None]], name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and values of the rows where a column holds a finite number."""
    pairs = [(row[STEP], row[name]) for row in rows if row.get(name) not in (None, "")]
    numbers = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    steps, values = numbers[np.isfinite(numbers).all(axis=1)].T
    return steps, values


def _draw_column(
    axes: Any, name: str, steps: NDArray[np.float64], values: NDArray[np.float64]
) -> None:
    reach = int(_SMOOTHED_SHARE * values.size / 2)
    smoothed = [
        np.median(values[max(0, index - reach) : index + reach + 1]) for index in range(values.size)
    ]
    axes.plot(steps, values, color="#9db4c8", linewidth=0.8, marker="." if reach == 0 else None)
    axes.plot(steps, smoothed, color="#1f4e79", linewidth=1.6)
    last = f", last {values[-1]:.4g}" if values.size else ", no values"
    title = name + last + (f"\n{_MEANING[name]}" if name in _MEANING else "")
    axes.set_title(title, fontsize=8 if name in _MEANING else 10, loc="left")
    axes.set_xlabel(STEP, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
