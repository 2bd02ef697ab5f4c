"""Where a scan lies in prior space: the affine in files, the scan there, names."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from seg_prior.cli.app import main
from seg_prior.config.output import OutputOptions
from seg_prior.io.find import find_images
from seg_prior.io.itk import to_itk
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.output.layout import files_of


@pytest.mark.parametrize(
    ("target", "transform", "moved"),
    [
        ("sub-01_space-T1w", "sub-01_from-T1w_to-prior_xfm", "sub-01_space-prior_T1w"),
        (
            "sub-1_run-2_space-T2w",
            "sub-1_run-2_from-T2w_to-prior_xfm",
            "sub-1_run-2_space-prior_T2w",
        ),
        ("scan", "scan_from-native_to-prior_xfm", "scan_space-prior_scan"),
        (
            "sub-1_space-MNI_desc-T1w",
            "sub-1_from-MNI_to-prior_desc-T1w_xfm",
            "sub-1_space-prior_desc-T1w_scan",
        ),
    ],
)
def test_names_say_from_where_to_where(target: str, transform: str, moved: str) -> None:
    options = OutputOptions(transform=True, in_prior_space=True)
    files = files_of(Path(f"{target}_dseg.nii.gz"), options)
    names = [files[kind].name for kind in ("transform", "lta", "transform_sidecar")]
    assert names == [f"{transform}{end}" for end in (".tfm", ".lta", ".json")]
    names = [files[kind].name for kind in ("moved", "moved_sidecar")]
    assert names == [f"{moved}.nii.gz", f"{moved}.json"]
    *_, last = files
    assert last == "label_map"


@pytest.fixture
def out(phantom_folder: Path, tiny_atlas: Path, tmp_path: Path) -> Path:
    """A folder with a scan, its label map, the atlas beside it, and the scan in prior space."""
    scan = tmp_path / "sub-01_T1w.nii.gz"
    nib.save(nib.load(phantom_folder / "sub-004_phantom.nii.gz"), scan)
    argv = ["segment", str(scan), str(tmp_path), "--model", str(tiny_atlas), "--device", "cpu"]
    assert main([*argv, "--threads", "1", "--transform", "--in-prior-space", "--quiet"]) == 0
    assert main(["atlas", str(tiny_atlas), str(tmp_path / "atlas"), "--quiet"]) == 0
    return tmp_path


def test_itk_brings_the_scan_where_it_is_written(out: Path) -> None:
    moved = read_volume(out / "sub-01_space-prior_T1w.nii.gz")
    atlas = read_label_map(out / "atlas" / "tpl-prior_dseg.nii.gz")
    assert moved.grid.same_as(atlas.grid, tolerance_voxels=1e-4)
    transform = sitk.ReadTransform(str(out / "sub-01_from-T1w_to-prior_xfm.tfm"))
    about = json.loads((out / "sub-01_space-T1w_dseg.json").read_text())
    sidecar = json.loads((out / "sub-01_from-T1w_to-prior_xfm.json").read_text())
    assert sidecar["prior_from_native"] == about["registration"]["prior_from_native"]
    assert sidecar["tfm"].startswith("ITK, LPS mm: point of prior space -> point of the scan")
    reference = to_itk(atlas.data.astype(np.float32), atlas.grid)

    scan = read_volume(out / "sub-01_T1w.nii.gz")
    image = to_itk(scan.data.astype(np.float32), scan.grid)
    theirs = sitk.GetArrayFromImage(sitk.Resample(image, reference, transform)).transpose(2, 1, 0)
    inside = (theirs > 0) & (moved.data > 0)
    assert inside.mean() > 0.2
    assert np.corrcoef(theirs[inside], moved.data[inside])[0, 1] > 0.95

    labels = read_label_map(out / "sub-01_space-T1w_dseg.nii.gz")
    image = to_itk(labels.data.astype(np.float32), labels.grid)
    nearest = sitk.sitkNearestNeighbor
    there = sitk.GetArrayFromImage(sitk.Resample(image, reference, transform, nearest))
    there = there.transpose(2, 1, 0).astype(int)
    shared = ((there > 0) & (atlas.data > 0)).sum()
    dice = 2 * shared / ((there > 0).sum() + (atlas.data > 0).sum())
    assert dice > 0.8
    wrong = sitk.GetArrayFromImage(
        sitk.Resample(image, reference, transform.GetInverse(), nearest)
    ).transpose(2, 1, 0)
    shared = ((wrong > 0) & (atlas.data > 0)).sum()
    assert 2 * shared / ((wrong > 0).sum() + (atlas.data > 0).sum()) < dice


def test_a_scan_in_prior_space_is_no_new_scan(out: Path) -> None:
    assert len(list(out.rglob("*.nii.gz"))) == 5
    assert find_images([out]) == [out / "sub-01_T1w.nii.gz"]
