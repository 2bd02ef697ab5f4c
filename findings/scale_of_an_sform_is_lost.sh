#!/usr/bin/env bash
# An image whose sform was scaled, as by a registration that is written into the header (nibabel's set_sform), and
# that has no qform. The sform alone says where voxels lie, one guesses, and ITK reads sheared ones not at all.
# SimpleITK 2.5.7 (ITK 5.4) takes the directions from it and the size of the voxels from pixdim, which nobody has
# changed: the brain has its old size again, at the new origin, and nothing is said. nibabel 5.4.2 scales.
#
# Seen, pixdim 1 1 1 and an sform of 1.25 1.1 0.9: nibabel 1.25 1.1 0.9, ITK 1 1 1, origins alike. Volume of one
# voxel 1.24 against 1 mm3; the last voxel of 200 along x lies 50 mm away from where it belongs.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet SimpleITK==2.5.7 nibabel==5.4.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import nibabel as nib
import numpy as np
import SimpleITK as sitk

sitk.ProcessObject.GlobalWarningDisplayOff()
image = nib.Nifti1Image(np.zeros((200, 4, 5), np.uint8), np.eye(4))
registered = np.diag([1.25, 1.1, 0.9, 1])
registered[:3, 3] = [-90, -126, -72]
image.set_qform(None, code=0)
image.set_sform(registered, code="mni")
nib.save(image, "a.nii")

one = nib.load("a.nii")
assert one.header.get_zooms() == (1, 1, 1) and int(one.header["qform_code"]) == 0
other = sitk.ReadImage("a.nii")
lps = np.diag([-1, -1, 1])
last = (199, 0, 0)
by_nibabel = nib.affines.apply_affine(one.affine, last)
by_itk = lps @ other.TransformIndexToPhysicalPoint(last)
away_mm = np.linalg.norm(by_nibabel - by_itk)
print("voxel size: nibabel", nib.affines.voxel_sizes(one.affine), "ITK", other.GetSpacing())
print("origin:", one.affine[:3, 3], lps @ other.GetOrigin(), f"last voxel {away_mm:.1f} mm away")
assert np.allclose(nib.affines.voxel_sizes(one.affine), [1.25, 1.1, 0.9])
assert np.allclose(other.GetSpacing(), 1)
assert np.allclose(one.affine[:3, 3], lps @ other.GetOrigin())
assert 49 < away_mm < 51
PYTHON
