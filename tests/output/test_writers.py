"""What is written for a scan: names, a BIDS folder, probabilities, volumes."""

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
from seg_prior.errors import ConfigError
from seg_prior.io.bids import plan_outputs
from seg_prior.io.label_tables import read_label_table

OUT = Path("out")


def targets(names: list[str], is_bids: bool = False) -> list[str]:
    images = [Path("scans") / name for name in names]
    return [str(target.relative_to(OUT)) for target in plan_outputs(images, OUT, is_bids)]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["sub-01_ses-1_T1w.nii.gz"], ["sub-01_ses-1_space-T1w_dseg.nii.gz"]),
        (["sub-01_ses-1_T2w.nii"], ["sub-01_ses-1_space-T2w_dseg.nii.gz"]),
        (["sub-1000.mgz"], ["sub-1000_dseg.nii.gz"]),
        (["scan.mgz", "case_07.nii"], ["scan_dseg.nii.gz", "case_07_dseg.nii.gz"]),
        (
            ["sub-1_run-1_T1w.nii", "sub-1_run-2_T1w.nii"],
            ["sub-1_run-1_space-T1w_dseg.nii.gz", "sub-1_run-2_space-T1w_dseg.nii.gz"],
        ),
        # No entity twice, and none behind desc.
        (["sub-1_space-MNI_T1w.nii"], ["sub-1_space-MNI_desc-T1w_dseg.nii.gz"]),
        (["sub-1_res-2_T1w.nii"], ["sub-1_res-2_desc-T1w_dseg.nii.gz"]),
        (
            ["sub-1_space-MNI_desc-preproc_T2w.nii"],
            ["sub-1_space-MNI_desc-preprocT2w_dseg.nii.gz"],
        ),
        (
            ["anna/mri/T1.mgz", "bert/mri/T1.mgz", "bert/mri/orig.mgz"],
            ["anna_T1_dseg.nii.gz", "bert_T1_dseg.nii.gz", "orig_dseg.nii.gz"],
        ),
        (
            ["a/x/m/T1.nii", "a/y/m/T1.nii", "b/x/m/T1.nii"],
            ["a_x_T1_dseg.nii.gz", "a_y_T1_dseg.nii.gz", "b_x_T1_dseg.nii.gz"],
        ),
        (["T1.nii", "late/T1.nii"], ["T1_dseg.nii.gz", "late_T1_dseg.nii.gz"]),
    ],
)
def test_a_folder_s_files_are_named_after_the_scans(names: list[str], wanted: list[str]) -> None:
    assert targets(names) == wanted


def test_bids_has_a_folder_for_each_subject_and_session() -> None:
    names = ["sub-01_ses-1_T1w.nii.gz", "sub-02_acq-mprage_T1w.nii.gz"]
    assert targets(names, is_bids=True) == [
        "sub-01/ses-1/anat/sub-01_ses-1_space-T1w_dseg.nii.gz",
        "sub-02/anat/sub-02_acq-mprage_space-T1w_dseg.nii.gz",
    ]


@pytest.mark.parametrize(
    ("names", "out", "is_bids", "message"),
    [
        (["a.nii", "b.nii"], "x.nii.gz", False, "found 2 scans and one file, need a folder"),
        (["sub-1_T1w.nii"], "x.nii.gz", True, "found a file and --bids, need a folder"),
        (["a/x.nii", "a/x.mgz"], "out", False, r"a/x.nii and a/x.mgz would both .* x_dseg.nii.gz"),
        (["a/sub-1.nii", "b/sub-1.nii"], "out", True, "would both be written to sub-1_dseg.nii.gz"),
        (["scan.nii"], "out", True, "found a name that BIDS does not know"),
        (["scan.nii"], "scan.mha", False, r"scan.mha: found a name that ends in '\.mha'"),
        (["scan.nii"], "a.seg.nrrd", False, r"found a name that ends in '\.seg\.nrrd'"),
        (["scan.nii"], "scan.nii.gzz", False, r"ends in '\.gzz', need one of .*, \.nii\.gz, "),
    ],
)
def test_what_has_no_place_is_refused(
    names: list[str], out: str, is_bids: bool, message: str
) -> None:
    images = [Path(name) for name in names]
    with pytest.raises(ConfigError, match=message):
        plan_outputs(images, Path(out), is_bids)


def test_a_folder_that_is_there_may_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "study.v2").mkdir()
    for name in ("study.v2", "run_1.5", ".hidden"):
        assert plan_outputs([Path("a.nii")], tmp_path / name, False) == [
            tmp_path / name / "a_dseg.nii.gz"
        ]


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
