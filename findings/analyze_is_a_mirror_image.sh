#!/usr/bin/env bash
# A header that says nothing of orientation, Analyze 7.5 or NIfTI with sform and qform code 0, is two heads
# that are mirror images: nibabel 5.4.2 turns x around (the way of SPM), SimpleITK 2.5.7 (ITK 5.4) x and y.
# They agree on left and right, so a look at the sides of the brain shows nothing; front and back are
# swapped, and with it the handedness. The byte for the orientation (252) makes no difference to ITK.
#
# Seen, for both files: nibabel diag(-2, 3, 4), ITK in RAS diag(-2, -3, 4).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet SimpleITK==2.5.7 nibabel==5.4.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

sitk.ProcessObject.GlobalWarningDisplayOff()

data = np.arange(210, dtype=np.int16).reshape(5, 6, 7)
analyze = nib.AnalyzeImage(data, None)
nifti = nib.Nifti1Image(data, None)
for image, name in ((analyze, "a.img"), (nifti, "a.nii")):
    image.header.set_zooms((2, 3, 4))
    image.to_filename(name)
assert int(nifti.header["sform_code"]) == int(nifti.header["qform_code"]) == 0


def by_itk(name):
    image = sitk.ReadImage(name)
    assert np.array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), data)
    return np.diag([-1, -1, 1]) @ np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()


for name in ("a.img", "a.nii"):
    one, other = nib.load(name).affine[:3, :3], by_itk(name)
    print(name, "nibabel", np.diag(one), "ITK", np.diag(other))
    assert np.allclose(one, np.diag([-2, 3, 4]))
    assert np.allclose(other, np.diag([-2, -3, 4]))
    assert np.sign(np.linalg.det(one)) != np.sign(np.linalg.det(other))
raw = bytearray(Path("a.hdr").read_bytes())
for orient in range(6):
    raw[252] = orient
    Path("a.hdr").write_bytes(raw)
    assert np.allclose(by_itk("a.img"), np.diag([-2, -3, 4])), orient
PYTHON
