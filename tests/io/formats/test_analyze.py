"""Pairs of files, .img and .hdr, held against ITK."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from seg_prior.io.itk import from_itk
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.io.write import write_volume
from tests.io.formats.awkward import AFFINES, check_same, intensities, label_map, refusal

ZOOMS = (2.0, 3.0, 4.0)


def analyze(path: Path, data: Any) -> Path:
    image = nib.AnalyzeImage(data, None)
    image.header.set_zooms(ZOOMS)
    image.to_filename(path)
    return path


def test_x_runs_from_right_to_left_which_is_a_guess(tmp_path: Path) -> None:
    volume = read_volume(analyze(tmp_path / "a.img", intensities()))
    assert np.array_equal(volume.data, intensities())
    np.testing.assert_array_equal(volume.grid.affine[:3, :3], np.diag([-2.0, 3.0, 4.0]))
    (warning,) = volume.warnings
    assert "(Analyze), so sides are a guess" in warning


def test_itk_turns_y_around_as_well(tmp_path: Path) -> None:
    path = analyze(tmp_path / "a.img", intensities())
    data, grid = from_itk(sitk.ReadImage(str(path)))
    assert np.array_equal(data, intensities())
    np.testing.assert_array_equal(grid.affine[:3, :3], np.diag([-2.0, -3.0, 4.0]))


@pytest.mark.parametrize("name", AFFINES)
def test_the_mat_file_of_spm_places_voxels(tmp_path: Path, name: str) -> None:
    image = nib.Spm99AnalyzeImage(intensities(), AFFINES[name])
    image.to_filename(tmp_path / "a.img")
    assert (tmp_path / "a.mat").exists()
    volume = read_volume(tmp_path / "a.img")
    check_same(volume, intensities(), AFFINES[name])
    assert volume.warnings == ()


@pytest.mark.parametrize("name", AFFINES)
def test_a_nifti_may_be_two_files(tmp_path: Path, name: str) -> None:
    image = nib.Nifti1Pair(label_map(), None)
    image.set_sform(AFFINES[name], 4)
    image.header.set_xyzt_units("mm", "sec")
    image.to_filename(tmp_path / "a.img")
    volume = read_label_map(tmp_path / "a.img")
    check_same(volume, label_map(), AFFINES[name])
    write_volume(tmp_path / "b.nii.gz", label_map(), volume)
    again = nib.load(tmp_path / "b.nii.gz")
    assert again.get_sform(coded=True)[1] == 4
    assert again.header.get_xyzt_units() == ("mm", "sec")
    check_same(read_label_map(tmp_path / "b.nii.gz"), label_map(), AFFINES[name])


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    path = analyze(tmp_path / "a.img", intensities())
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert f"promises {len(whole)} bytes, the file holds {len(whole) - 1} bytes" in refusal(path)
    (tmp_path / "a.hdr").unlink()
    assert "found no a.hdr beside it" in refusal(path)
    (tmp_path / "a.hdr").write_bytes(b"no header")
    assert "not a readable Analyze or NIfTI pair image" in refusal(path)
