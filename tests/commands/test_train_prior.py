"""A prior with detail from label maps to a segmented head, and who writes it."""

import json
import re
import shutil
from pathlib import Path

import pytest

from seg_prior.checkpoints.file import load_model
from seg_prior.commands import segment, train_prior
from seg_prior.commands.segment import Config as SegmentConfig
from seg_prior.commands.train_prior import Config as TrainPriorConfig
from seg_prior.errors import ConfigError
from seg_prior.io.nifti import read_label_map
from seg_prior.metrics.overlap import dice_by_id, nan_mean
from seg_prior.models.label_vae import LabelVAE

DETAILED = {"latent_channels": 4, "detail_channels": 8, "widths": (8, 8, 16), "num_blocks": 1}
RUNTIME = {"device": "cpu", "threads": 1}


def request(phantom_folder: Path, out: Path, kind: str) -> TrainPriorConfig:
    return TrainPriorConfig.model_validate(
        RUNTIME
        | {
            "labels": sorted(phantom_folder.glob("*_dseg.nii.gz"))[:3],
            "out": out,
            "label_table": phantom_folder / "labels.tsv",
            "kind": kind,
            "spacing_mm": 5.0,
            "decoded_share": 0.5,
            "vae": DETAILED,
            "optim": {"steps": 2, "precision": "32-true", "num_workers": 0},
        }
    )


def test_a_prior_with_detail_reads_a_new_head_in_one_pass(
    phantom_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "prior.safetensors"
    train_prior.run(request(phantom_folder, out, "vae"))
    model = load_model(out)
    assert isinstance(model.prior, LabelVAE)
    assert model.prior.num_latents > 8 * model.location.cells.numel()

    scan = sorted(phantom_folder.glob("*_phantom.nii.gz"))[3]
    settings = {"images": [scan], "out": tmp_path / "new_dseg.nii.gz", "model": out}
    segment.run(SegmentConfig.model_validate(settings | RUNTIME))
    sidecar = json.loads((tmp_path / "new_dseg.json").read_text())
    assert sidecar["refinement"]["steps"] == 0
    known = read_label_map(scan.with_name(scan.name.replace(".nii.gz", "_dseg.nii.gz")))
    found = read_label_map(tmp_path / "new_dseg.nii.gz")
    assert nan_mean(dice_by_id(found.data, known.data).values()) > 0.5


def test_of_several_processes_the_first_writes(
    phantom_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = request(phantom_folder, tmp_path / "atlas.safetensors", "atlas")
    monkeypatch.setenv("RANK", "1")
    train_prior.run(config)
    assert not config.out.exists()
    monkeypatch.setenv("RANK", "0")
    train_prior.run(config)
    assert config.out.exists()


def test_one_subject_is_no_population_and_a_few_are_not_refused(
    phantom_folder: Path, tmp_path: Path, talk: pytest.LogCaptureFixture
) -> None:
    asked = request(phantom_folder, tmp_path / "atlas.safetensors", "atlas")
    one = tmp_path / "one.safetensors"
    train_prior.run(asked.model_copy(update={"labels": asked.labels[:1], "out": one}))
    assert any("label maps of 1 subject alone" in line for line in talk.messages)
    talk.clear()
    train_prior.run(asked)
    assert talk.messages
    assert not any("subject alone" in line for line in talk.messages)


def test_scans_cut_like_the_maps_get_a_pose_prior(phantom_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "atlas.safetensors"
    asked = request(phantom_folder, out, "atlas")
    train_prior.run(asked)
    assert load_model(out).header.pose_prior is None
    posed = tmp_path / "posed.safetensors"
    train_prior.run(asked.model_copy(update={"pose": "as_maps", "out": posed}))
    pose_prior = load_model(posed).header.pose_prior
    assert pose_prior is not None
    assert len(pose_prior.mean) == 12


def test_a_finished_request_has_nothing_to_do_and_another_is_refused_by_name(
    phantom_folder: Path, tmp_path: Path, talk: pytest.LogCaptureFixture
) -> None:
    maps = tmp_path / "maps"
    shutil.copytree(phantom_folder, maps)
    asked = request(maps, tmp_path / "atlas.safetensors", "atlas")
    train_prior.run(asked)
    before = asked.out.read_bytes()
    elsewhere = request(phantom_folder, asked.out, "atlas")  # the same content in another folder
    for same in (asked, elsewhere, asked.model_copy(update={"threads": 2})):
        talk.clear()
        train_prior.run(same)
        assert talk.messages == [f"{asked.out} is finished, of the same label maps and settings"]

    table = maps / "labels.tsv"
    shutil.copy(asked.labels[2], asked.labels[0])
    for other, words in (
        (asked, f"other content of {asked.labels[0]}"),
        (elsewhere.model_copy(update={"kind": "pca"}), "other kind)"),
        (elsewhere.model_copy(update={"labels": elsewhere.labels[:2]}), r"inputs (4, now 3)"),
        (elsewhere.model_copy(update={"label_table": table}), f"other content of {table}"),
    ):
        table.write_text(table.read_text() + "\n")
        with pytest.raises(ConfigError, match=re.escape(words)):
            train_prior.run(other)
    assert asked.out.read_bytes() == before


def test_the_state_goes_when_the_model_is_written(phantom_folder: Path, tmp_path: Path) -> None:
    asked = request(phantom_folder, tmp_path / "prior.safetensors", "vae")
    train_prior.run(asked)
    assert sorted(p.name for p in (tmp_path / "prior").iterdir()) == ["log.csv", "log.png"]
    asked.out.write_bytes(b"no checkpoint")
    with pytest.raises(ConfigError, match=r"prior\.safetensors: found no safetensors.*delete it"):
        train_prior.run(asked)
