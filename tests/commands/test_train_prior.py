"""A prior with detail from label maps to a segmented head, and who writes it."""

import json
import re
import shutil
from pathlib import Path

import pytest

from seg_prior.checkpoints.file import load_model
from seg_prior.commands import reconstruct, sample, segment, train_prior
from seg_prior.commands.segment import Config as SegmentConfig
from seg_prior.commands.train_prior import Config as TrainPriorConfig
from seg_prior.errors import ConfigError
from seg_prior.io.read import read_label_map
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
            "detail_steps": 2,
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


@pytest.fixture(scope="module")
def five_people(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four heads, and the first once more as that of a fifth person."""
    folder = tmp_path_factory.mktemp("five")
    for path in phantom_folder.glob("*_dseg.nii.gz"):
        shutil.copy(path, folder)
    first = phantom_folder / "sub-001_phantom_dseg.nii.gz"
    shutil.copy(first, folder / "sub-005_phantom_dseg.nii.gz")
    shutil.copy(phantom_folder / "labels.tsv", folder)
    return folder


@pytest.mark.parametrize("kind", ["ae", "swae"])
def test_an_autoencoder_with_a_density_draws_reconstructs_and_segments(
    five_people: Path, phantom_folder: Path, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "prior.safetensors"
    asked = request(five_people, out, kind).model_dump() | {
        "labels": [five_people],
        "density": "kde",
        "optim": {"steps": 6, "batch_size": 4, "precision": "32-true", "num_workers": 0},
    }
    header = train_prior.run(TrainPriorConfig.model_validate(asked))
    assert (header.kind, header.density) == (kind, "kde")
    report = header.reference["prior"]
    assert report["density"]["components"] == 10  # five heads and their mirror images
    assert report["is_trained_in"]
    assert "kl" not in report
    assert sorted(header.provenance["subjects"]) == [f"sub-00{n}" for n in range(1, 6)]
    model = load_model(out)
    assert not model.prior.density.is_standard
    assert (model.prior.density.center.ndim == 1) == (kind == "ae")

    drawn = sample.run(sample.Config.model_validate({"model": out, "out": tmp_path, "num": 1}))
    assert read_label_map(drawn.label_maps[0]).data.any()
    known = phantom_folder / "sub-004_phantom_dseg.nii.gz"
    asked = {"model": out, "labels": [known], "out": tmp_path / "made"} | RUNTIME
    scores = reconstruct.run(reconstruct.Config.model_validate(asked)).scores
    assert nan_mean([score.dice for score in scores]) > 0.5
    scan = phantom_folder / "sub-004_phantom.nii.gz"
    settings = {"images": [scan], "out": tmp_path / "new_dseg.nii.gz", "model": out}
    settings |= {"refine": "full"}
    segment.run(SegmentConfig.model_validate(settings | RUNTIME))
    found = read_label_map(tmp_path / "new_dseg.nii.gz")
    assert nan_mean(dice_by_id(found.data, read_label_map(known).data).values()) > 0.5


@pytest.mark.parametrize("kind", ["atlas", "pca"])
def test_people_are_measured_before_they_are_learned_from(
    five_people: Path, tmp_path: Path, talk: pytest.LogCaptureFixture, kind: str
) -> None:
    asked = request(five_people, tmp_path / "lent.safetensors", kind).model_copy(
        update={"labels": [five_people], "num_components": 4}
    )
    lent = train_prior.run(asked)
    assert lent.reference["prior"]["num_subjects"] == 1
    assert any("1 held out until they are measured" in line for line in talk.messages)
    assert any("1 held out map, trained in since: Dice" in line for line in talk.messages)
    # What is written is what all of them make.
    whole = tmp_path / "whole.safetensors"
    train_prior.run(asked.model_copy(update={"out": whole, "holdout_share": 0.0}))
    models = [load_model(path).prior for path in (asked.out, whole)]
    assert models[0].num_latents == models[1].num_latents
    assert "nobody is held out" in "".join(talk.messages)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "atlas", "density": "kde"}, "density: found 'kde' of kind atlas, which has no"),
        ({"kind": "swae"}, "optim.batch_size: found 1, need 4 or more of kind swae"),
        ({"kind": "pca", "density": "mixture", "num_components": 1}, "maps of 2 people, need at"),
        ({"kind": "pca"}, "num_components: found 19, need fewer than the 4 label maps"),
    ],
)
def test_what_does_not_go_together_is_told_before_the_work(
    phantom_folder: Path, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    asked = request(phantom_folder, tmp_path / "prior.safetensors", "vae")
    update = {"labels": asked.labels[:2]} | change
    with pytest.raises(ConfigError, match=re.escape(words)):
        train_prior.run(asked.model_copy(update=update))


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
    logs = ["log.csv", "log.png"]
    assert sorted(p.name for p in (tmp_path / "prior").iterdir()) == ["detail", *logs]
    assert sorted(p.name for p in (tmp_path / "prior" / "detail").iterdir()) == logs
    asked.out.write_bytes(b"no checkpoint")
    with pytest.raises(ConfigError, match=r"prior\.safetensors: found no safetensors.*delete it"):
        train_prior.run(asked)
