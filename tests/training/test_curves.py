"""A loss curve draws the numbers of a log, whatever is missing from it."""

import csv
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from seg_prior.training.curves import write_loss_curve


def _dark_pixels(path: Path) -> int:
    return int((imread(path)[..., :3].sum(axis=2) < 1.5).sum())


def test_rows_of_a_csv_file_are_drawn(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("step,loss,kl,val_dice\n1,9.5,0.1,\n2,8.0,0.2,0.5\n3,7.0,nan,\n")
    with log.open(newline="") as file:
        write_loss_curve(tmp_path / "plots" / "curve.png", list(csv.DictReader(file)), {})
    assert imread(tmp_path / "plots" / "curve.png").shape[:2] == (520, 1100)
    assert _dark_pixels(tmp_path / "plots" / "curve.png") > 500


def test_values_missing_empty_or_not_finite_change_nothing(tmp_path: Path) -> None:
    rows: list[dict[str, float | str | None]] = [{"step": i, "loss": 1 / i} for i in range(1, 5)]
    write_loss_curve(tmp_path / "whole.png", rows, {})
    holes: list[dict[str, float | str | None]] = [
        {"step": 0.5, "loss": ""},
        {"step": 1.5, "loss": None},
        {"step": 2.5},
        {"step": 3.5, "loss": "inf"},
    ]
    write_loss_curve(tmp_path / "holes.png", [*rows, *holes], {})
    np.testing.assert_array_equal(imread(tmp_path / "whole.png"), imread(tmp_path / "holes.png"))


@pytest.mark.parametrize("value", ["", "nan"])
def test_a_column_without_values_is_named(tmp_path: Path, value: str) -> None:
    write_loss_curve(tmp_path / "curve.png", [{"step": 1, "loss": value}], {})
    assert _dark_pixels(tmp_path / "curve.png") > 100


def test_another_column_is_another_plot(tmp_path: Path) -> None:
    for names in (["a"], ["a", "b"], ["a", "b", "c"]):
        rows = [{"step": float(i)} | dict.fromkeys(names, i**0.5) for i in range(50)]
        write_loss_curve(tmp_path / f"{len(names)}.png", rows, {})
    shapes = [imread(tmp_path / f"{n}.png").shape[:2] for n in (1, 2, 3)]
    assert shapes == [(260, 550), (260, 1100), (520, 1100)]


def test_bold_line_runs_along_the_steps(tmp_path: Path) -> None:
    write_loss_curve(tmp_path / "flat.png", [{"step": i, "loss": 5.0} for i in range(100)], {})
    picture = imread(tmp_path / "flat.png")[..., :3]
    bold = np.abs(picture - np.array([0x1F, 0x4E, 0x79]) / 255).max(axis=2) < 0.02
    rows, columns = np.nonzero(bold)
    assert np.ptp(columns) > 350
    assert np.ptp(rows) < 5


def test_a_marked_step_and_the_atlas_beside_are_drawn(tmp_path: Path) -> None:
    rows = [{"step": i, "val_dice": 0.8, "val_atlas_dice": 0.6} for i in range(10)]
    alone = [{"step": i, "val_dice": 0.8} for i in range(10)]
    write_loss_curve(tmp_path / "both.png", rows, {})
    write_loss_curve(tmp_path / "marked.png", rows, {5: "here"})
    write_loss_curve(tmp_path / "alone.png", alone, {})
    both, marked, one = (
        imread(tmp_path / f"{name}.png")[..., :3] for name in ("both", "marked", "alone")
    )
    assert both.shape == one.shape  # one plot
    brown = np.array([0xB5, 0x65, 0x1D]) / 255
    num_brown = [int((np.abs(p - brown).max(axis=2) < 0.05).sum()) for p in (both, one)]
    assert num_brown[0] > 50 > num_brown[1]
    assert (marked != both).any()
