"""A model of before learns how to draw and stays what it was."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import add_draws
from seg_prior.checkpoints.file import load_model, save_model
from seg_prior.checkpoints.header import read_header
from seg_prior.models.label_vae import LabelVAE


def ask(monkeypatch: pytest.MonkeyPatch, *words: Path | str) -> None:
    monkeypatch.setattr(sys, "argv", ["add_draws.py", *map(str, words)])
    add_draws.main()


@pytest.fixture
def maps(phantom_folder: Path, tmp_path: Path) -> Path:
    """A folder of three label maps."""
    folder = tmp_path / "maps"
    folder.mkdir()
    for path in sorted(phantom_folder.glob("*_dseg.nii.gz"))[:3]:
        shutil.copy(path, folder)
    return folder


def test_field_and_flow_are_added_and_the_rest_is_bit_for_bit_the_same(
    detailed_prior: Path, maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "more.safetensors"
    ask(monkeypatch, detailed_prior, maps, out, "--steps", "2", "--seed", "3")
    with safe_open(detailed_prior, "pt") as old, safe_open(out, "pt") as new:
        assert set(old.keys()) == set(new.keys())
        changed = {k for k in old.keys() if not torch.equal(old.get_tensor(k), new.get_tensor(k))}  # noqa: SIM118
    assert changed
    parts = {name.split(".")[1] for name in changed}
    assert {"coarse_field", "detail_flow"} <= parts <= {"coarse_field", "detail_flow", "neighbours"}
    prior = load_model(out).prior
    assert isinstance(prior, LabelVAE)
    assert prior.detail_flow is not None
    assert not (tmp_path / "more" / "last.pt").exists()


def test_a_model_without_channels_of_detail_gets_field_and_neighbours(
    tiny_prior: Path, maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_model(tiny_prior)
    assert isinstance(before.prior, LabelVAE)
    before.prior.coarse_field = before.prior.neighbours = None
    old, out = tmp_path / "old.safetensors", tmp_path / "more.safetensors"
    save_model(old, before.header, before.prior)
    ask(monkeypatch, old, maps, out)
    with safe_open(old, "pt") as first, safe_open(out, "pt") as second:
        added = set(second.keys()) - set(first.keys())
    assert added
    assert {name.split(".")[1] for name in added} == {"coarse_field", "neighbours"}
    assert read_header(out) == before.header
