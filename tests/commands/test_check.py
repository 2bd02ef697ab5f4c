import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from seg_prior.cli.settings import resolve
from seg_prior.commands import check
from seg_prior.commands.check import Config as CheckConfig
from seg_prior.commands.check import Report
from seg_prior.commands.train_prior import Config as TrainPriorConfig
from seg_prior.core.volume import Volume
from seg_prior.errors import ConfigError, LabelsError
from seg_prior.io.label_tables import read_label_table
from seg_prior.io.nifti import read_label_map, write_volume
from seg_prior.planning.check import orientation


def look(labels: Path, out: Path, images: list[Path] | None = None, **more: object) -> Report:
    settings = {"labels": [labels], "images": images or [], "out": out} | more
    return check.run(CheckConfig.model_validate(settings))


@pytest.fixture
def heads(phantom_folder: Path, tmp_path: Path) -> Path:
    """A folder of the four label maps that a test may spoil."""
    folder = tmp_path / "maps"
    folder.mkdir()
    for path in phantom_folder.glob("*_dseg.nii.gz"):
        shutil.copy(path, folder)
    return folder


def spoil(path: Path, data: np.ndarray, like: Volume) -> None:
    path.unlink()
    write_volume(path, data, like)


def test_sound_heads_have_their_sides_found_and_no_doubts(
    phantom_folder: Path, heads: Path, tmp_path: Path
) -> None:
    report = look(heads, tmp_path / "out", [phantom_folder / "*_phantom.nii.gz"])
    assert report.problems == ()
    found = read_label_table(report.table)
    known = read_label_table(phantom_folder / "labels.tsv")
    partner = {label.id: label.partner_id for label in known.labels if label.is_structure}
    for label in found.labels:
        if label.id in partner:
            assert label.partner_id == partner[label.id], label.name
    assert "4 images and 4 label maps of 4 subjects" in report.facts


def test_the_proposal_is_a_config_that_trains(heads: Path, tmp_path: Path) -> None:
    report = look(heads, tmp_path / "out")
    asked = {"labels": [heads], "out": tmp_path / "prior.safetensors"}
    config = resolve(TrainPriorConfig, report.prior, asked)
    assert config.label_table == report.prior.parent / "labels.tsv"
    assert config.spacing_mm is not None
    finest_mm = np.median([one.grid.spacing_mm.min() for one in report.fingerprint.maps])
    assert config.spacing_mm == pytest.approx(finest_mm, rel=0.05)  # so few voxels need no more
    assert yaml.safe_load(report.prior.read_text())["pose"] == "any"  # no images, no claim


def test_ids_missing_from_the_table_are_named_by_file(heads: Path, tmp_path: Path) -> None:
    report = look(heads, tmp_path / "first")
    path = sorted(heads.glob("*"))[0]
    volume = read_label_map(path)
    data = volume.data.copy()
    data[0, 0, 0] = 777
    spoil(path, data, volume)
    report = look(heads, tmp_path / "out", label_table=report.table)
    (line,) = report.problems
    assert path.name in line
    assert "777" in line
    assert len(report.fingerprint.maps) == 3


def test_one_subject_is_refused_however_many_files(heads: Path, tmp_path: Path) -> None:
    first, *others = sorted(heads.glob("*"))
    for number, path in enumerate(others):
        shutil.copy(first, heads / f"sub-001_run-{number}_dseg.nii.gz")
        path.unlink()
    with pytest.raises(ConfigError, match="usable label maps of 1 subject, need at least 3"):
        look(heads, tmp_path / "out")


def test_a_crop_that_cuts_the_anatomy_is_doubtful(heads: Path, tmp_path: Path) -> None:
    path = sorted(heads.glob("*"))[0]
    volume = read_label_map(path)
    start, stop = np.array([volume.grid.shape[0] // 2, 0, 0]), np.array(volume.grid.shape)
    cropped = Volume(volume.data[start[0] :], volume.grid.crop(start, stop))
    spoil(path, cropped.data, cropped)
    report = look(heads, tmp_path / "out")
    assert any(path.name in line and "crop cuts it" in line for line in report.doubts)


def test_a_shrunken_map_is_an_outlier(heads: Path, tmp_path: Path) -> None:
    path = sorted(heads.glob("*"))[0]
    volume = read_label_map(path)
    grid = type(volume.grid)(volume.grid.shape, volume.grid.affine @ np.diag([0.4, 0.4, 0.4, 1]))
    spoil(path, volume.data, Volume(volume.data, grid))
    report = look(heads, tmp_path / "out")
    assert any(path.name in line and "times the usual volume" in line for line in report.doubts)


def test_blank_images_and_wrong_headers_are_told(heads: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    grid = read_label_map(sorted(heads.glob("*"))[0]).grid
    stack = type(grid)((100, 90, 8), np.eye(4))
    rng = np.random.default_rng(0)
    for number in range(3):
        values = rng.normal(100, 20, stack.shape)
        write_volume(images / f"sub-{number}_T2w.nii.gz", values, Volume(values, stack))
    blank = np.full(stack.shape, 7.0)
    write_volume(images / "sub-9_T2w.nii.gz", blank, Volume(blank, stack))
    report = look(heads, tmp_path / "out", [images])
    assert any("sub-9" in line and "without contrast" in line for line in report.problems)
    assert any("only 8 slices of 100 voxels across" in line for line in report.doubts)


def test_a_folder_without_a_usable_map_is_refused(heads: Path, tmp_path: Path) -> None:
    for path in heads.glob("*"):
        volume = read_label_map(path)
        spoil(path, np.zeros_like(volume.data), volume)
    with pytest.raises(LabelsError, match="found background only"):
        look(heads, tmp_path / "out")


def test_orientation_names_the_axes_in_file_order() -> None:
    affine = np.array([[0.0, 0, -1, 0], [2, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    grid = read_grid(affine)
    assert orientation(grid) == "AIL"


def read_grid(affine: np.ndarray):  # type: ignore[no-untyped-def]
    from seg_prior.core.grid import Grid

    return Grid((3, 4, 5), affine)
