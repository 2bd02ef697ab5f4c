"""A model of before gets a flow of the detail and stays what it was."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import add_detail
from seg_prior.checkpoints.file import load_model
from seg_prior.errors import CheckpointError
from seg_prior.models.label_vae import LabelVAE


def ask(monkeypatch: pytest.MonkeyPatch, *words: Path | str) -> None:
    monkeypatch.setattr(sys, "argv", ["add_detail.py", *map(str, words)])
    add_detail.main()


def test_a_flow_is_added_and_the_rest_is_bit_for_bit_the_same(
    detailed_prior: Path, phantom_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, maps = tmp_path / "more.safetensors", tmp_path / "maps"
    maps.mkdir()
    for path in sorted(phantom_folder.glob("*_dseg.nii.gz"))[:2]:
        shutil.copy(path, maps)
    ask(monkeypatch, detailed_prior, maps, out, "--steps", "2", "--seed", "3")
    with safe_open(detailed_prior, "pt") as old, safe_open(out, "pt") as new:
        assert set(old.keys()) == set(new.keys())
        changed = {k for k in old.keys() if not torch.equal(old.get_tensor(k), new.get_tensor(k))}  # noqa: SIM118
    assert changed
    assert all(name.startswith("prior.detail_flow.") for name in changed)
    prior = load_model(out).prior
    assert isinstance(prior, LabelVAE)
    assert prior.detail_flow is not None
    assert not (tmp_path / "more" / "last.pt").exists()


def test_a_model_without_channels_of_detail_is_refused(
    tiny_prior: Path, phantom_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match=r"prior\.safetensors: found no channels of detail"):
        ask(monkeypatch, tiny_prior, phantom_folder, tmp_path / "more.safetensors")
    assert not list(tmp_path.iterdir())
