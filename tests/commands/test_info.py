"""What a checkpoint says of itself."""

import hashlib
import json
import math
from pathlib import Path

import pytest

from seg_prior.checkpoints.file import load_model
from seg_prior.cli.app import main
from seg_prior.commands.info import Config, run
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.errors import CheckpointError


def test_json_holds_the_facts(tiny_prior: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = run(Config(file=tiny_prior, format="json"))
    assert json.loads(capsys.readouterr().out) == facts
    model = load_model(tiny_prior)
    assert facts["kind"] == "vae"
    assert facts["sha256"] == hashlib.sha256(tiny_prior.read_bytes()).hexdigest()
    assert facts["grid"]["shape"] == list(model.header.shape)
    assert facts["grid"]["spacing_mm"] == pytest.approx([5.0, 5.0, 5.0])
    assert facts["grid"]["num_anatomy_voxels"] == model.location.log_prob.shape[1]
    assert [label["id"] for label in facts["labels"]] == [0, 10, 20, 30, 40, 50, 61, 62, 71, 72]
    # Four channels for each 8 x 8 x 8 voxels.
    assert facts["latent"]["channels"] == 4
    assert facts["latent"]["density"] == "normal"
    assert facts["latent"]["cells"] == [side // 8 for side in model.header.shape]
    assert facts["latent"]["num_latents"] == 4 * math.prod(model.header.shape) // 512
    fitted = model.prior.state_dict().items()  # weights, and the field that draws are made with
    weights = sum(value.numel() for name, value in fitted if not name.startswith("location."))
    assert weights > sum(weight.numel() for weight in model.prior.parameters())
    assert facts["size"]["num_weights"] == {"prior": weights}
    assert facts["training"]["train-prior"]["optim"]["steps"] == 3
    assert facts["provenance"]["subjects"] == ["sub-001", "sub-002", "sub-003"]
    assert facts["reference"]["prior"]["num_subjects"] == 3


def test_people_read_the_same(tiny_prior: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(Config(file=tiny_prior))
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert "kind: vae" in lines
    assert "labels: 10" in lines
    assert "  spacing_mm: [5, 5, 5]" in lines
    [nucleus] = [line for line in lines if "Left-Medial-Nucleus" in line]
    assert nucleus.split() == ["61", "Left-Medial-Nucleus", "nucleus", "partner", "62"]
    assert "      steps: 3" in shown


def test_an_atlas_has_no_latent(tiny_atlas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = run(Config(file=tiny_atlas))
    lines = capsys.readouterr().out.splitlines()
    assert facts["latent"] == {"num_latents": 0}
    assert facts["size"]["num_weights"] == {"prior": 10 * facts["grid"]["num_anatomy_voxels"] // 8}
    assert "vae: -" in lines
    assert "offset: -" in lines


def test_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        run(Config(file=tmp_path / "none.safetensors"))


def test_the_model_of_the_package_needs_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["file"] == str(BRAIN_MODEL)
    assert {"prior", "image_reader", "locator"} == set(facts["size"]["num_weights"])
