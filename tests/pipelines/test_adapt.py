"""From a folder to a page: the pipeline for any organ, on phantoms and with a tiny training."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from seg_prior.commands import make_phantoms

PIPELINE = Path(__file__).parents[2] / "pipelines" / "adapt_to_dataset.py"


def adapt(config: Path, data: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PIPELINE), "--config", str(config), *flags]
    environment = os.environ | {"SEG_PRIOR_DATA": str(data)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    request = make_phantoms.Config(out=tmp_path / "heads", num=6, seed=1, spacing_mm=6.0)
    make_phantoms.run(request)
    settings = {
        "name": "heads",
        "images": "heads/*_phantom.nii.gz",
        "labels": "heads/*_dseg.nii.gz",
        "out": "run",
        "threads": 1,
        "device": "cpu",
        "shares": [3, 2, 1],
        "prior": {
            "pose": "as_maps",
            "vae": {"latent_channels": 4, "widths": [8, 8, 16], "detail_channels": 2},
            "optim": {"steps": 3, "warmup_steps": 1, "precision": "32-true"},
        },
        "locator": {"optim": {"steps": 2, "precision": "32-true", "num_workers": 0}},
    }
    path = tmp_path / "heads.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.mark.slow
def test_a_folder_becomes_models_and_a_page(config: Path) -> None:
    page = config.parent / "docs.md"
    done = adapt(config, config.parent, "--page", str(page))
    assert done.returncode == 0, done.stderr
    out = config.parent / "run"
    report = (out / "report.md").read_text()
    for text in (
        "label maps of",
        "## The config",
        "atlas + EM |",
        "atlas + EM, with the VAE's locator",
        "VAE + refinement, no locator",
        "![loss]",
    ):
        assert text in report
    assert "<!-- benchmark:heads -->" in page.read_text()
    trained = json.loads((out / "minutes.json").read_text())
    assert set(trained) == {"atlas", "pca", "vae", "locator"}
    roles = json.loads((out / "split.json").read_text())
    assert sorted(roles.values()) == ["images", "images", "maps", "maps", "maps", "scored"]
    models = {path: path.stat().st_mtime_ns for path in out.glob("*.safetensors")}
    again = adapt(config, config.parent)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.safetensors")} == models


def test_a_missing_folder_is_one_line(config: Path, tmp_path: Path) -> None:
    done = adapt(config, tmp_path / "nowhere")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "nowhere" in done.stderr


@pytest.mark.slow
def test_one_subject_is_one_line(config: Path) -> None:
    for path in (config.parent / "heads").glob("sub-*"):
        if not path.name.startswith("sub-001"):
            path.unlink()
    done = adapt(config, config.parent)
    assert done.returncode == 2
    assert "too few" in done.stderr
    assert done.stderr.count("\n") == 1
