import shlex
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from seg_prior.cli.app import main
from seg_prior.cli.settings import resolve
from seg_prior.commands import check
from seg_prior.commands.check import Config as CheckConfig
from seg_prior.commands.check import Report
from seg_prior.commands.train_prior import Config as TrainPriorConfig
from seg_prior.config.training import PriorConfig
from seg_prior.core.grid import MIRROR
from seg_prior.core.volume import Volume
from seg_prior.errors import ConfigError, LabelsError
from seg_prior.io.label_tables import read_label_table
from seg_prior.io.read import read_label_map
from seg_prior.io.write import write_volume
from seg_prior.planning.check import orientation
from seg_prior.training.prior import align


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


def test_the_commands_it_ends_with_work_as_typed(
    phantom_folder: Path, heads: Path, tmp_path: Path, talk: pytest.LogCaptureFixture
) -> None:
    scans = tmp_path / "my scans"
    scans.mkdir()
    shutil.copy(phantom_folder / "sub-004_phantom.nii.gz", scans)
    report = look(heads, tmp_path / "out", [scans])
    assert talk.messages[-3:] == list(report.commands)
    assert report.commands[0] == "next:"
    train, segment = (shlex.split(line)[1:] for line in report.commands[1:])
    assert main([*train, "--dry-run"]) == 0
    assert main([*train, "--kind", "atlas"]) == 0  # the one that takes a second
    assert main(segment) == 0
    assert list((tmp_path / "out" / "results").glob("*_dseg.nii.gz"))


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
    assert any(path.name in line and "of the field of view cuts" in line for line in report.doubts)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_cut_vertex_is_told_with_the_share_of_its_section(
    heads: Path, tmp_path: Path, share: float
) -> None:
    path = sorted(heads.glob("*"))[0]
    volume = read_label_map(path)
    known = read_label_table(look(heads, tmp_path / "out").table)
    is_anatomy = known.is_structure[known.remap(volume.data, "map")]
    sections = is_anatomy.sum(axis=(0, 1))
    # The highest slice that still has so much of the largest section.
    last = int(np.flatnonzero(sections >= share * sections.max()).max())
    spoil(path, volume.data[:, :, : last + 1], cropped(volume, last + 1))
    report = look(heads, tmp_path / "out")
    (line,) = [line for line in report.doubts if path.name in line and "cuts the anatomy" in line]
    assert f"where it has {sections[last] / sections.max():.0%} of its largest section" in line


def cropped(volume: Volume, stop: int) -> Volume:
    i, j, _ = volume.grid.shape
    data = volume.data[:, :, :stop]
    return Volume(data, volume.grid.crop(np.zeros(3, int), np.array([i, j, stop])))


def mirrored(volume: Volume) -> Volume:
    return Volume(volume.data, type(volume.grid)(volume.grid.shape, MIRROR @ volume.grid.affine))


def test_the_one_mirrored_map_is_found(heads: Path, tmp_path: Path) -> None:
    path = sorted(heads.glob("*"))[1]
    volume = read_label_map(path)
    spoil(path, volume.data, mirrored(volume))
    report = look(heads, tmp_path / "out")
    assert [line for line in report.doubts if "sides lie the other way round" in line] == [
        f"{path.name}: its sides lie the other way round than in most maps. Is its header, or are "
        "its labels, mirrored?"
    ]


def test_maps_whose_left_lies_on_the_right_and_headers_without_sides_are_one_line_each(
    phantom_folder: Path, heads: Path, tmp_path: Path
) -> None:
    table = phantom_folder / "labels.tsv"
    assert not any("guess" in d for d in look(heads, tmp_path / "a", label_table=table).doubts)
    paths = sorted(heads.glob("*"))
    for path in paths:
        volume = read_label_map(path)
        spoil(path, volume.data, mirrored(volume))
    doubts = look(heads, tmp_path / "b", label_table=table).doubts
    (line,) = [line for line in doubts if "sides are a guess" in line]
    assert line.startswith(f"{paths[0].name} and 3 more: what its labels call left lies on the")
    for path in paths:
        image = nib.load(path)
        image.set_sform(None, 0)
        image.set_qform(None, 0)
        nib.save(image, path)
    doubts = look(heads, tmp_path / "c", label_table=table).doubts
    assert any(
        line.startswith(f"{paths[0].name} and 3 more: its header does not") for line in doubts
    )


def test_partners_on_one_side_are_told(heads: Path, tmp_path: Path) -> None:
    table = look(heads, tmp_path / "a").table
    text = table.read_text()
    rows = [line.split("\t") for line in text.splitlines()]
    assert [row[4] for row in rows if row[0] in ("61", "62", "71", "72")] == [
        "62",
        "61",
        "72",
        "71",
    ]
    partner = {"61": "71", "71": "61", "62": "72", "72": "62"}  # of one side name each other
    slip = [[*row[:4], partner.get(row[0], row[4])] for row in rows]
    table.write_text("\n".join("\t".join(row) for row in slip) + "\n")
    doubts = look(heads, tmp_path / "b", label_table=table).doubts
    assert [line.partition(", lie on one side")[0] for line in doubts if "one side" in line] == [
        "label-61 and its partner, label-71",
        "label-62 and its partner, label-72",
    ]
    with pytest.raises(
        LabelsError, match=r"labels\.tsv: label-61 and its partner, label-71, lie on"
    ):
        align([heads], table, PriorConfig(kind="atlas"))


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
