#!/usr/bin/env bash
# Labels of 32 bits, put into an image with the header of a scan whose voxels are bytes (as FreeSurfer's
# orig.mgz), are not what comes back. One guesses that they are stored as they are, or refused, as 64 bits are.
# nibabel 5.4.2 keeps the type of the header: in NIfTI it scales 0..2035 to 256 steps, so that every id
# moves and the small ones become background; in MGH, which has no scale, ids above 255 all become 255.
# Nothing is said. Who selects a structure by its id afterwards finds none, or all of the cortex as one.
#
# Seen: of 0 2 17 42 1001 1012 2035, as NIfTI 0 0 15.96 39.90 997.5 1013.5 2035, as MGH 0 2 17 42 255 255 255.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet nibabel==5.4.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import nibabel as nib
import numpy as np

ids = np.array([0, 2, 17, 42, 1001, 1012, 2035, 0], dtype=np.int32)  # of aparc+aseg.mgz
labels = ids.reshape(2, 2, 2)
scan = np.zeros((2, 2, 2), dtype=np.uint8)
found = {}
for kind, end in ((nib.Nifti1Image, "nii"), (nib.MGHImage, "mgz")):
    header = kind(scan, np.eye(4)).header
    nib.save(kind(labels, np.eye(4), header), f"labels.{end}")
    read = nib.load(f"labels.{end}")
    assert read.get_data_dtype() == np.uint8
    found[end] = read.get_fdata().ravel()
    print(end, np.round(found[end], 2))
try:
    nib.Nifti1Image(labels.astype(np.int64), np.eye(4))
except ValueError as error:
    print("64 bits: ValueError:", str(error).partition(".")[0])
else:
    raise SystemExit("labels of 64 bits are no longer refused")
step = 2035 / 255
assert np.allclose(found["nii"], np.rint(ids / step) * step, atol=1e-3)
assert found["nii"][1] == 0 and not np.isin(found["nii"], [2, 17, 42, 1001, 1012]).any()
assert np.array_equal(found["mgz"], np.minimum(ids, 255))
PYTHON
