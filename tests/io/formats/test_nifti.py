"""NIfTI headers that libraries place in different ways, and series that are no time."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from seg_prior.io.formats.nifti import write_series
from seg_prior.io.itk import from_itk
from seg_prior.io.read import read_volume
from tests.io.formats.awkward import RIGID, check_same, intensities


@pytest.mark.parametrize("name", RIGID)
def test_it_is_read_as_itk_reads_it(tmp_path: Path, name: str) -> None:
    nib.save(nib.Nifti1Image(intensities(), RIGID[name]), tmp_path / "a.nii.gz")
    data, grid = from_itk(sitk.ReadImage(str(tmp_path / "a.nii.gz")))
    check_same(read_volume(tmp_path / "a.nii.gz"), data, grid.affine)


def test_where_both_codes_are_0_x_is_turned_around_and_y_is_not(tmp_path: Path) -> None:
    image = nib.Nifti1Image(intensities(), None)
    image.header.set_zooms((2, 3, 4))
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.grid.affine[:3, :3], np.diag([-2.0, 3.0, 4.0]))
    (warning,) = volume.warnings
    assert "(sform and qform code 0), so sides are a guess" in warning
    _, theirs = from_itk(sitk.ReadImage(str(tmp_path / "a.nii.gz")))
    np.testing.assert_array_equal(theirs.affine[:3, :3], np.diag([-2.0, -3.0, 4.0]))


def test_probabilities_of_labels_are_no_points_in_time(tmp_path: Path) -> None:
    image = nib.Nifti1Image(intensities(), np.eye(4))
    image.header.set_xyzt_units("micron", "sec")
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    write_series(tmp_path / "p.nii.gz", [volume.data / 4] * 3, 3, volume)
    assert nib.load(tmp_path / "p.nii.gz").header.get_xyzt_units() == ("micron", "unknown")
