#!/usr/bin/env bash
# A NRRD whose header counts in micrometres ("space units": "um") comes into SimpleITK 2.5.7 (ITK 5.4) a
# thousand times too large: every number is taken for millimetres, and the unit is in none of the
# metadata, so that nobody can correct it afterwards. The same ITK converts the units of NIfTI.
# The spaces RAS and LAS, on the other hand, are converted to LPS.
#
# Seen: spacing 25 with 25 um (and no metadata with "unit" in its name), 0.025 for the NIfTI.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet SimpleITK==2.5.7 pynrrd==1.1.3 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import nrrd
import numpy as np
import SimpleITK as sitk

header = {
    "space": "right-anterior-superior",
    "space directions": 25 * np.eye(3),
    "space origin": np.array([1.0, 2.0, 3.0]),
    "space units": ["um", "um", "um"],
}
nrrd.write("a.nrrd", np.zeros((5, 6, 7), np.uint8), header)
assert list(nrrd.read_header("a.nrrd")["space units"]) == ["um", "um", "um"]
image = sitk.ReadImage("a.nrrd")
told = [key for key in image.GetMetaDataKeys() if "unit" in key.lower()]
print("NRRD: spacing", image.GetSpacing(), "origin", image.GetOrigin(), "units", told)
assert np.allclose(image.GetSpacing(), 25)
assert np.allclose(image.GetOrigin(), [-1, -2, 3])
assert not told

plain = sitk.GetImageFromArray(np.zeros((7, 6, 5), np.uint8))
plain.SetSpacing((25, 25, 25))
sitk.WriteImage(plain, "a.nii")
raw = bytearray(Path("a.nii").read_bytes())
raw[123] = (raw[123] & ~7) | 3  # xyzt_units: micron
Path("a.nii").write_bytes(raw)
print("NIfTI: spacing", sitk.ReadImage("a.nii").GetSpacing())
assert np.allclose(sitk.ReadImage("a.nii").GetSpacing(), 0.025)
PYTHON
