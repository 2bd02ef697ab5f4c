"""MGH without a valid orientation, which libraries place in different ways."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from seg_prior.io.read import read_volume
from tests.io.formats.awkward import AFFINES, check_same, intensities


@pytest.mark.parametrize("name", AFFINES)
def test_it_is_read_as_nibabel_wrote_it(tmp_path: Path, name: str) -> None:
    nib.save(nib.MGHImage(intensities(), AFFINES[name]), tmp_path / "a.mgz")
    check_same(read_volume(tmp_path / "a.mgz"), intensities(), AFFINES[name])


def test_without_its_flag_it_lies_where_freesurfer_has_it(tmp_path: Path) -> None:
    nib.save(nib.MGHImage(intensities(), AFFINES["oblique"]), tmp_path / "a.mgh")
    raw = bytearray((tmp_path / "a.mgh").read_bytes())
    raw[28:30] = b"\0\0"  # goodRASFlag
    (tmp_path / "a.mgh").write_bytes(raw)
    volume = read_volume(tmp_path / "a.mgh")
    # mri.cpp: x_r = -1, y_s = -1, z_a = 1, sizes 1 mm, the centre at 0.
    coronal = np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    np.testing.assert_array_equal(volume.grid.affine[:3, :3], coronal)
    np.testing.assert_array_equal(volume.grid.affine[:3, 3], -coronal @ [2.5, 3, 3.5])
    (warning,) = volume.warnings
    assert "(goodRASFlag 0), so sides are a guess" in warning
    # nibabel has it upside down; if that changes, ours needs no default of its own.
    theirs = nib.MGHImage.from_bytes(bytes(raw)).affine[:3, :3]
    np.testing.assert_array_equal(theirs, coronal @ np.diag([1, -1, -1]))
