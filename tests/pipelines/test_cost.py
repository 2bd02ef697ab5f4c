"""The profile names functions that exist, and a resampled scan is the same scan."""

import re
from pathlib import Path

import numpy as np
import pytest

import seg_prior
from experiments.cost import PARTS, Size, _resampled, against, draw, segment
from experiments.stopwatch import Cost
from seg_prior.core.grid import Grid
from seg_prior.core.volume import Volume

PACKAGE = Path(seg_prior.__file__).parent
ITK = "ImageRegistrationMethod_Execute"


@pytest.mark.parametrize("function", [name for name in PARTS.values() if name != ITK])
def test_every_part_is_a_function_of_the_package(function: str) -> None:
    name, file = re.fullmatch(r"(\w+) \((\w+\.py)\)", function).groups()  # type: ignore[union-attr]
    texts = [path.read_text("utf-8") for path in PACKAGE.rglob(file)]
    assert sum(text.count(f"def {name}(") for text in texts) == 1


def test_a_scan_on_more_voxels_is_the_same_scan() -> None:
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    data = np.broadcast_to(100.0 * np.arange(10)[:, None, None], (10, 8, 6))
    finer = _resampled(Volume(data, Grid((10, 8, 6), affine)), 480 * 27)
    assert finer.grid.shape == (30, 24, 18)
    np.testing.assert_allclose(finer.grid.center_mm, Grid((10, 8, 6), affine).center_mm)
    np.testing.assert_allclose(finer.grid.spacing_mm, [2 / 3, 1, 4 / 3])
    assert finer.data[1::3].mean((1, 2)).tolist() == list(range(0, 1000, 100))


def test_a_checkout_is_measured_by_its_own_package(tmp_path: Path) -> None:
    command = segment([Path("scan.nii.gz")], Path("out.nii.gz"), tmp_path, "--shard", "1/2")
    assert command[:2] == ["env", f"PYTHONPATH={tmp_path}"]
    assert command[-5:] == ["out.nii.gz", "--threads", "1", "--shard", "1/2"]


def test_the_medians_are_those_of_the_ratios(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = iter(
        Cost(0, "", 1.0, cpu_s, mb) for cpu_s, mb in [(8, 100), (4, 50), (8, 100), (2, 80)]
    )
    monkeypatch.setattr("experiments.cost.measure", lambda _: next(costs))
    *_, last = against(Path("scan.nii.gz"), tmp_path, tmp_path, 2, tmp_path)
    assert last == "| median | | | 0.38 | | | 0.65 |"


def test_what_was_refused_is_said_and_not_drawn(tmp_path: Path) -> None:
    sizes = [Size(2.0, Cost(0, "", 9.0, 8.0, 700.0)), Size(900.0, Cost(2, "too large", 1, 1, 1))]
    assert [size.row for size in sizes] == [
        "| 2.0 | 8.0 | 700 |",
        "| 900.0 | refused: too large | |",
    ]
    draw(sizes, tmp_path / "cost.svg")
    assert (tmp_path / "cost.svg").stat().st_size > 1000
