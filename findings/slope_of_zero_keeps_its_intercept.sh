#!/usr/bin/env bash
# A NIfTI whose scl_slope is 0 is not scaled: the standard has slope and intercept count only if the slope is not
# zero. One guesses that all readers leave the voxels alone. nibabel 5.4.2 and surfa 0.6.3 do; SimpleITK 2.5.7
# (ITK 5.4) takes 1 for the slope and adds the intercept all the same, also where the slope is NaN. A left-over
# intercept, as that of a CT, moves every intensity, and every id of a label map.
#
# Seen, stored 0 1 2, intercept -1000, slope 0 and slope NaN: nibabel and surfa 0 1 2, ITK -1000 -999 -998.
# With slope 1 all three agree on -1000 -999 -998.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet SimpleITK==2.5.7 nibabel==5.4.2 surfa==0.6.3 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import surfa

sitk.ProcessObject.GlobalWarningDisplayOff()
nib.save(nib.Nifti1Image(np.arange(3, dtype=np.int16).reshape(3, 1, 1), np.eye(4)), "a.nii")
raw = bytearray(Path("a.nii").read_bytes())
for slope in (0.0, float("nan"), 1.0):
    raw[112:120] = struct.pack("<ff", slope, -1000)  # scl_slope, scl_inter
    Path("a.nii").write_bytes(raw)
    one = nib.load("a.nii").get_fdata().ravel()
    other = np.ravel(surfa.load_volume("a.nii").data)
    itk = sitk.GetArrayFromImage(sitk.ReadImage("a.nii")).ravel()
    print(f"slope {slope}: nibabel {one}, surfa {other}, ITK {itk}")
    assert np.array_equal(one, np.arange(3) - 1000 * (slope == 1))
    assert np.array_equal(one, other)
    assert np.array_equal(itk, np.arange(3) - 1000)
PYTHON
