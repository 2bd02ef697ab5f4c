"""Where results go and what they are called: alone, in a folder, in a BIDS derivatives folder."""

from pathlib import Path

import pytest

from seg_prior.errors import ConfigError
from seg_prior.output.layout import plan_outputs

OUT = Path("out")


def targets(names: list[str], is_bids: bool = False) -> list[str]:
    images = [f"scans/{name}" for name in names]
    return [target.removeprefix(f"{OUT}/") for target in plan_outputs(images, OUT, is_bids)]


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
    with pytest.raises(ConfigError, match=message):
        plan_outputs(names, Path(out), is_bids)


def test_a_folder_that_is_there_may_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "study.v2").mkdir()
    for name in ("study.v2", "run_1.5", ".hidden"):
        assert plan_outputs(["a.nii"], tmp_path / name, False) == [
            str(tmp_path / name / "a_dseg.nii.gz")
        ]
