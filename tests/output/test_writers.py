"""What is written for a scan: names, a BIDS folder, probabilities, volumes, departures."""

import csv
import json
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from seg_prior.api import Segmenter
from seg_prior.checkpoints.header import read_header
from seg_prior.cli.app import main
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.config.output import OutputOptions
from seg_prior.core.freesurfer import intracranial_ids
from seg_prior.core.labels import LabelTable
from seg_prior.inference.departure import THRESHOLD_SD
from seg_prior.io.label_tables import read_label_table


@pytest.fixture
def bids(phantom_folder: Path, tiny_atlas: Path, tmp_path: Path) -> Path:
    """A derivatives folder of two subjects, one with two contrasts."""
    scans, out = tmp_path / "scans", tmp_path / "derivatives" / "seg-prior"
    scans.mkdir()
    for number, name in enumerate(("sub-01_ses-a_T1w", "sub-02_T1w", "sub-02_T2w"), start=1):
        shutil.copy(phantom_folder / f"sub-00{number}_phantom.nii.gz", scans / f"{name}.nii.gz")
    (scans / "sub-03_T1w.nii.gz").write_bytes(b"no image")  # so that there is a failed.tsv
    argv = ["segment", str(scans), str(out), "--model", str(tiny_atlas), "--bids", "--entropy"]
    argv += ["--transform", "--in-prior-space"]
    assert main([*argv, "--device", "cpu", "--threads", "1", "--quiet"]) == 1
    return out


def test_a_bids_folder_has_what_its_files_promise(bids: Path, tiny_atlas: Path) -> None:
    about = json.loads((bids / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert about["GeneratedBy"][0]["Name"] == "seg-prior"
    base = bids / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_space-T1w"
    label_map = nib.load(f"{base}_dseg.nii.gz")
    table = read_header(tiny_atlas).label_table
    assert np.array_equal(read_label_table(Path(f"{base}_dseg.tsv")).ids, table.ids)

    probabilities = nib.load(f"{base}_probseg.nii.gz")
    names = json.loads(Path(f"{base}_probseg.json").read_text())["LabelMap"]
    assert names == table.names[1:]
    assert probabilities.shape == (*label_map.shape, len(names))
    np.testing.assert_array_equal(probabilities.affine, label_map.affine)
    values = np.asanyarray(probabilities.dataobj)
    assert values.min() >= 0
    assert values.sum(3).max() <= 1 + len(names) / 2048  # stored in steps of 1 / 1024
    ids = np.asanyarray(label_map.dataobj)
    best = np.where(values.max(3) > 0.5, table.ids[1:][values.argmax(3)], ids)
    assert np.array_equal(best, ids)

    with Path(f"{base}_desc-volumes_morph.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["name"] for row in rows] == table.names[1:]
    voxel_mm3 = abs(np.linalg.det(label_map.affine[:3, :3]))
    for n, row in enumerate(rows):
        hard, soft = float(row["volume_mm3"]), float(row["posterior_volume_mm3"])
        assert hard == pytest.approx((ids == int(row["index"])).sum() * voxel_mm3, abs=0.1)
        # The file leaves out what is below 1 / 2048; the table does not.
        in_file = values[..., n].sum(dtype=float) * voxel_mm3
        assert 0.97 * soft < in_file < 1.005 * soft


def test_another_program_s_data_set_is_left_alone(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "dataset_description.json").write_text('{"Name": "raw", "BIDSVersion": "1.8.0"}')
    scan = str(phantom_folder / "sub-001_phantom.nii.gz")
    assert main(["segment", scan, str(raw), "--model", str(tiny_atlas), "--bids"]) == 2
    assert "found the data set of another program" in capsys.readouterr().err
    assert sorted(path.name for path in raw.iterdir()) == ["dataset_description.json"]


def _validator() -> str | None:
    """The schema-based validator; version 1 of npm's bids-validator knows no derivatives."""
    return shutil.which("bids-validator-deno")


@pytest.mark.skipif(_validator() is None, reason="no bids-validator-deno; pip install it")
def test_the_bids_validator_accepts_it(bids: Path) -> None:
    command = [str(_validator()), "--format", "json", str(bids)]
    done = subprocess.run(command, capture_output=True, text=True)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert done.returncode == 0


def test_the_brain_model_defines_an_intracranial_volume_and_a_phantom_none(
    tiny_atlas: Path,
) -> None:
    table = read_header(BRAIN_MODEL).label_table.written
    ids = intracranial_ids(table)
    assert set(ids) == set(table.ids.tolist()) - {0}
    assert intracranial_ids(read_header(tiny_atlas).label_table) == ()
    without_csf = LabelTable(labels=tuple(label for label in table.labels if label.id != 24))
    assert intracranial_ids(without_csf) == ()


def test_the_intracranial_volume_is_the_sum_of_what_defines_it(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = Segmenter.load(tiny_atlas, device="cpu", threads=1)
    result = segmenter.segment(phantom_folder / "sub-004_phantom.nii.gz")
    assert result.intracranial is None
    ids = (20, 30)
    for module in ("inference.label_volumes", "output.writers"):
        monkeypatch.setattr(f"seg_prior.{module}.intracranial_ids", lambda table: ids)
    whole = result.intracranial
    assert whole is not None
    inside = [volume for volume in result.volumes if volume.id in ids]
    assert whole.hard_mm3 == pytest.approx(sum(volume.hard_mm3 for volume in inside))
    assert whole.soft_mm3 == pytest.approx(sum(volume.soft_mm3 for volume in inside))
    result.write(tmp_path / "a_dseg.nii.gz", OutputOptions(volumes=True))
    *_, last = (tmp_path / "a_volumes.tsv").read_text().splitlines()
    assert last.startswith(f"n/a\tIntracranial-Volume\t{whole.hard_mm3:.1f}\t")
    sidecar = json.loads((tmp_path / "a_dseg.json").read_text())
    assert sidecar["intracranial"]["ids"] == [20, 30]


def test_the_map_of_departures_lies_on_the_scan_and_changes_no_other_file(
    tiny_atlas: Path, phantom_folder: Path, tmp_path: Path
) -> None:
    scan = phantom_folder / "sub-004_phantom.nii.gz"
    segmenter = Segmenter.load(tiny_atlas, device="cpu", threads=1)
    plain, asked = tmp_path / "plain" / "a_dseg.nii.gz", tmp_path / "asked" / "a_dseg.nii.gz"
    segmenter.segment(scan).write(plain, OutputOptions(volumes=True))
    result = segmenter.segment(scan)
    result.write(asked, OutputOptions(volumes=True, departure=True))
    for name in ("a_dseg.nii.gz", "a_volumes.tsv"):
        assert plain.with_name(name).read_bytes() == asked.with_name(name).read_bytes()
    new = {path.name for path in asked.parent.iterdir()} - {p.name for p in plain.parent.iterdir()}
    assert new == {"a_departure.nii.gz", "a_departure.json"}
    written, image = nib.load(asked.with_name("a_departure.nii.gz")), nib.load(scan)
    assert written.shape == image.shape
    np.testing.assert_array_equal(written.affine, image.affine)
    np.testing.assert_array_equal(written.get_fdata(dtype=np.float32), result.departure[0])
    assert np.abs(result.departure).max() > 1
    about = json.loads(asked.with_name("a_departure.json").read_text())
    assert about["threshold"] == THRESHOLD_SD
    assert about["Units"].startswith("standard deviations")
    assert about["contrasts"] == [scan.name]


def test_of_several_contrasts_each_has_a_map_of_departures(
    tiny_atlas: Path, phantom_folder: Path, tmp_path: Path
) -> None:
    scan = phantom_folder / "sub-004_phantom.nii.gz"
    segmenter = Segmenter.load(tiny_atlas, device="cpu", threads=1)
    result = segmenter.segment(scan, contrasts=[phantom_folder / "sub-003_phantom.nii.gz"])
    result.write(tmp_path / "a_dseg.nii.gz", OutputOptions(departure=True))
    written = nib.load(tmp_path / "a_departure.nii.gz")
    assert written.shape == (*nib.load(scan).shape, 2)
    values = np.moveaxis(written.get_fdata(dtype=np.float32), 3, 0)
    np.testing.assert_array_equal(values, result.departure)
    about = json.loads((tmp_path / "a_departure.json").read_text())
    assert about["contrasts"] == [scan.name, "sub-003_phantom.nii.gz"]
