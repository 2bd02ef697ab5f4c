"""Reconstructions: of any grid, scored against the map itself in prior space."""

import csv
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from seg_prior.checkpoints.file import load_model
from seg_prior.checkpoints.header import read_header
from seg_prior.commands.reconstruct import Config as ReconstructConfig
from seg_prior.commands.reconstruct import ReconstructResult, reconstruct, run
from seg_prior.errors import ConfigError, LabelsError
from seg_prior.io.read import read_label_map


def reconstruct_all(model: Path, labels: list[Path], out: Path) -> ReconstructResult:
    config = ReconstructConfig(model=model, labels=labels, out=out, device="cpu", threads=1)
    return run(config)


def dice(result: ReconstructResult, name: str) -> float:
    [score] = [score for score in result.scores if score.name == name]
    return score.dice


def test_files_scores_and_summary(
    phantom_folder: Path, tiny_prior: Path, tmp_path: Path, talk: pytest.LogCaptureFixture
) -> None:
    config = ReconstructConfig(
        model=tiny_prior,
        labels=[phantom_folder / f"sub-00{n}_phantom_dseg.nii.gz" for n in (1, 4)],
        out=tmp_path,
        device="cpu",
        threads=1,
    )
    result = run(config)
    lines = talk.messages
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dice.csv",
        "reconstructions.png",
        "sub-001_reconstruction_dseg.nii.gz",
        "sub-004_reconstruction_dseg.nii.gz",
    ]
    header = read_header(tiny_prior)
    written = read_label_map(tmp_path / "sub-004_reconstruction_dseg.nii.gz")
    assert written.grid.same_as(header.grid)
    with (tmp_path / "dice.csv").open() as file:
        rows = list(csv.DictReader(file))
    structures = [label.name for label in header.label_table.labels if label.is_structure]
    assert [row["name"] for row in rows] == structures * 2
    assert [row["subject"] for row in rows] == ["sub-001"] * 8 + ["sub-004"] * 8
    assert [float(row["dice"]) for row in rows] == pytest.approx(
        [score.dice for score in result.scores], abs=1e-6
    )
    # A decoder that has learned nothing gives the atlas, which already fits a head roughly.
    assert 0.6 < np.mean([score.dice for score in result.scores]) < 0.95
    assert lines[-1].split()[:2] == ["all", "structures"]
    mean = np.mean([score.dice for score in result.scores])
    assert float(lines[-1].split()[2]) == pytest.approx(mean, abs=1e-3)


def test_an_atlas_reconstructs_every_map_as_itself(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path
) -> None:
    """Its own most probable labels come back from themselves with Dice 1."""
    model = load_model(tiny_atlas)
    one = reconstruct(model, phantom_folder / "sub-001_phantom_dseg.nii.gz")
    other = reconstruct(model, phantom_folder / "sub-002_phantom_dseg.nii.gz")
    np.testing.assert_array_equal(one.reconstruction, other.reconstruction)
    assert (one.label_map != other.label_map).any()
    ids = model.header.label_table.ids[one.reconstruction].astype(np.uint8)
    nib.save(nib.Nifti1Image(ids, model.header.grid.affine), tmp_path / "atlas_dseg.nii.gz")
    result = reconstruct_all(tiny_atlas, [tmp_path / "atlas_dseg.nii.gz"], tmp_path / "out")
    assert min(score.dice for score in result.scores) == pytest.approx(1.0)


def test_reorienting_a_label_map_changes_nothing(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path
) -> None:
    path = phantom_folder / "sub-001_phantom_dseg.nii.gz"
    image = nib.load(path)
    turned = nib.as_closest_canonical(image).slicer[::-1, :, :]
    assert nib.aff2axcodes(turned.affine) != nib.aff2axcodes(image.affine)
    nib.save(turned, tmp_path / "turned_dseg.nii.gz")
    model = load_model(tiny_atlas)
    before = reconstruct(model, path).label_map
    after = reconstruct(model, tmp_path / "turned_dseg.nii.gz").label_map
    # Rounding may take the other of two voxels at the same distance.
    assert (before != after).mean() < 1e-3


def test_a_structure_the_map_lacks_is_an_empty_cell(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path
) -> None:
    image = nib.load(phantom_folder / "sub-001_phantom_dseg.nii.gz")
    ids = np.asanyarray(image.dataobj).copy()
    ids[ids == 40] = 30
    nib.save(nib.Nifti1Image(ids, image.affine), tmp_path / "sub-009_dseg.nii.gz")
    result = reconstruct_all(tiny_atlas, [tmp_path / "sub-009_dseg.nii.gz"], tmp_path / "out")
    assert np.isnan(dice(result, "Ventricle"))
    assert dice(result, "Core") > 0.5
    rows = (tmp_path / "out" / "dice.csv").read_text().splitlines()
    assert "sub-009,40,Ventricle," in rows


def test_one_that_fails_stops_no_other_and_alone_it_raises(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path
) -> None:
    image = nib.load(phantom_folder / "sub-001_phantom_dseg.nii.gz")
    bad = tmp_path / "bad_dseg.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros(image.shape, dtype=np.uint8), image.affine), bad)
    good = phantom_folder / "sub-002_phantom_dseg.nii.gz"
    result = reconstruct_all(tiny_atlas, [bad, good], tmp_path / "out")
    assert [path for path, _ in result.failed] == [bad]
    assert {score.subject for score in result.scores} == {"sub-002"}
    with pytest.raises(LabelsError, match="found background only"):
        reconstruct_all(tiny_atlas, [bad], tmp_path / "alone")
    assert not (tmp_path / "alone").exists()


def test_two_maps_of_one_subject_are_refused(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path
) -> None:
    path = phantom_folder / "sub-001_phantom_dseg.nii.gz"
    shutil.copy(path, tmp_path / path.name)
    with pytest.raises(ConfigError, match="two label maps of subject sub-001"):
        reconstruct_all(tiny_atlas, [path, tmp_path / path.name], tmp_path / "out")
