"""The benchmark measures each scan once, says what failed, and leaves hand-written text alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import benchmark, benchmark_page
from experiments.benchmark import Cell
from experiments.config import BenchmarkConfig
from experiments.stopwatch import measure
from seg_prior.errors import ConfigError
from seg_prior.synthesis.phantom import phantom_label_table

PIPELINE = Path(__file__).parents[2] / "pipelines" / "benchmark.py"
TABLE = phantom_label_table()


@pytest.fixture
def config(phantom_folder: Path, tiny_atlas: Path, tmp_path: Path) -> BenchmarkConfig:
    """Two methods on the one phantom that the atlas has not seen."""
    return BenchmarkConfig.model_validate(
        {
            "data": phantom_folder,
            "models": tiny_atlas.parent,
            "tables": phantom_folder,
            "cache": tmp_path / "cache",
            "page": tmp_path / "docs" / "page.md",
            "threads": 1,
            "device": "cpu",
            "methods": [
                {"name": "mixture"},
                {"name": "atlas", "model": tiny_atlas.name, "segment": {"output": "prior"}},
            ],
            "datasets": [
                {
                    "name": "heads",
                    "images": "sub-004_phantom.nii.gz",
                    "references": "*_dseg.nii.gz",
                    "label_table": "labels.tsv",
                }
            ],
        }
    )


def test_every_cell_is_measured_once_and_ends_on_the_page(
    config: BenchmarkConfig, monkeypatch: pytest.MonkeyPatch, talk: pytest.LogCaptureFixture
) -> None:
    cells = benchmark.run(config.datasets[0], config)
    assert [(cell.method, cell.subject, cell.error) for cell in cells] == [
        ("mixture", "sub-004", ""),
        ("atlas", "sub-004", ""),
    ]
    assert len(talk.messages) == 2
    mixture, atlas = (benchmark_page.mean_dice(benchmark_page.known_dice(c), TABLE) for c in cells)
    assert 0 < mixture < atlas < 1
    for cell in cells:
        assert cell.cpu_s > 0.1
        assert 50 < cell.peak_mb < 4000
        assert cell.wall_s > 0.1

    monkeypatch.setattr(benchmark, "measure", lambda command: pytest.fail("measured twice"))
    assert benchmark.run(config.datasets[0], config) == cells

    block = benchmark_page.write(config.datasets[0], cells, config)
    assert f"| sub-004 | {mixture:.3f} | {atlas:.3f} |" in block
    assert block in config.page.read_text()
    assert [path.name for path in config.page.parent.iterdir()] == ["page.md"]


def test_another_setting_is_another_cell_and_a_failure_is_told_and_tried_again(
    config: BenchmarkConfig,
) -> None:
    broken = config.methods[1].model_copy(update={"name": "broken", "segment": {"frame": 0}})
    scan = benchmark.find_scans(config.datasets[0], config)[0]
    blank = scan.image.with_name("blank_phantom.nii.gz")  # not a subject of the data set
    blank.write_bytes(b"no image")
    bad = scan._replace(image=blank)
    cell = benchmark._cell(bad, broken, config.datasets[0], config)
    assert "blank_phantom.nii.gz: not a readable NIfTI" in cell.error
    assert cell.dice == {}
    assert not list(config.cache.rglob("*broken*[0-9a-f].json"))
    blank.unlink()

    keys = {
        benchmark.key_of(scan, benchmark.settings_for(scan, method, config), scan.reference)
        for method in (*config.methods, broken)
    }
    assert len(keys) == 3


def test_tables_say_mean_spread_and_what_failed() -> None:
    def cell(method: str, subject: str, dice: float | None, error: str = "") -> Cell:
        values = {label.id: dice for label in TABLE.labels if label.is_structure}
        return Cell(
            method=method,
            subject=subject,
            dice={} if error else values,
            cpu_s=10.0,
            wall_s=20.0,
            peak_mb=500.0,
            label_map=Path("x.nii.gz"),
            error=error,
            commit="abc",
            date="2026-01-01",
            machine="a machine",
        )

    cells = [cell("A", "one", 0.5), cell("A", "two", 0.7), cell("B", "one", 0.9)]
    cells.append(cell("B", "two", None, error="it broke"))
    by_method, by_structure, by_scan = benchmark_page.tables(cells, TABLE)
    assert "| A | 0.600 ± 0.141 (2) | 10 | 20 | 500 |" in by_method
    assert "| B | 0.900 ± - (1) | 10 | 20 | 500 |" in by_method
    assert "| Cortex | 0.60 ± 0.14 (2) | 0.90 ± - (1) |" in by_structure
    assert "Outer-Shell" not in by_structure  # not a structure
    assert by_scan.splitlines()[-1] == "| two | 0.700 | failed |"


def test_only_the_marked_block_of_the_page_changes() -> None:
    page = "# Mine\n\n<!-- benchmark:a -->\nold\n<!-- /benchmark -->\n\nMy words \\1.\n"
    once = benchmark_page.with_block(page, "a", r"new \1")
    assert once == page.replace("old", r"new \1")
    twice = benchmark_page.with_block(once, "b", "other")
    assert twice == once + "\n<!-- benchmark:b -->\nother\n<!-- /benchmark -->\n"


def test_a_scan_without_reference_is_refused(config: BenchmarkConfig) -> None:
    dataset = config.datasets[0].model_copy(update={"references": "sub-001*_dseg.nii.gz"})
    with pytest.raises(ConfigError, match="found no reference of subject sub-004"):
        benchmark.find_scans(dataset, config)


def test_stopwatch_counts_the_command_and_not_who_asks() -> None:
    ballast = np.ones(400 * 10**6 // 8)
    cost = measure([sys.executable, "-c", "x = bytearray(10**8); sum(range(10**7))"])
    assert cost.code == 0
    assert 100 < cost.peak_mb < 200 < ballast.nbytes / 1e6
    assert 0.05 < cost.cpu_s < 30
    failed = measure([sys.executable, "-c", "raise SystemExit('first\\nlast line')"])
    assert (failed.code, failed.message) == (1, "last line")


def test_pipeline_refuses_a_wrong_config_in_one_line(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("methods: []\nspeed: 3\n")
    command = [sys.executable, str(PIPELINE), "--config", str(wrong)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "speed: unknown key" in done.stderr


def test_the_config_in_the_checkout_names_what_exists() -> None:
    from seg_prior.cli.settings import resolve

    root = PIPELINE.parents[1]
    config = resolve(BenchmarkConfig, root / "configs" / "benchmark.yaml", {"data": root})
    names = [method.name for method in config.methods]
    assert len(set(names)) == len(names)
    for method in config.methods:
        scan = benchmark.Scan("x", Path("x.nii.gz"), Path("y.nii.gz"))
        benchmark.settings_for(scan, method, config)  # every key is one of segment's
    for dataset in config.datasets:
        assert (config.tables / dataset.label_table).is_file()
    assert json.loads(config.model_dump_json())["page"].endswith("docs/benchmark.md")
