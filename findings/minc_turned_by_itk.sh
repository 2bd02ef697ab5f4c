#!/usr/bin/env bash
# A MINC 2 file that SimpleITK 2.5.7 (ITK 5.4) writes lies turned by 180 degrees about z for nibabel 5.4.2:
# ITK keeps the numbers and calls them LPS in memory, while MINC means RAS by them (and ITK itself does so
# for NIfTI). ITK reads its own file back without a difference, so a round trip shows nothing.
#
# Seen: a voxel at LPS (1, 2, 30), which is RAS (-1, -2, 30): as NIfTI RAS (-1, -2, 30), as MINC RAS (1, 2, 30).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet SimpleITK==2.5.7 nibabel==5.4.2 h5py==3.16.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import nibabel as nib
import numpy as np
import SimpleITK as sitk

image = sitk.GetImageFromArray(np.arange(210, dtype=np.int16).reshape(7, 6, 5))
image.SetSpacing((2, 1.5, 3))
image.SetOrigin((1, 2, 30))
places = {}
for end in ("nii", "mnc"):
    sitk.WriteImage(image, f"a.{end}")
    read = nib.load(f"a.{end}")
    first = np.argwhere(np.rint(read.get_fdata()) == 0)[0]
    places[end] = nib.affines.apply_affine(read.affine, first)
    assert sitk.ReadImage(f"a.{end}").GetOrigin() == (1, 2, 30)
    print(f"LPS (1, 2, 30) as .{end}: RAS", places[end])
assert np.allclose(places["nii"], [-1, -2, 30])
assert np.allclose(places["mnc"], [1, 2, 30])
PYTHON
