#!/usr/bin/env bash
# A label map of 8 bits as MRC, the format of electron tomograms. One guesses that what a library writes the other
# reads, or that bytes without sign are refused, as the format (MRC2014) has none: its mode 0 is signed. SimpleITK 2.5.7
# (ITK 5.4) writes them in mode 0 all the same, and reads them back; mrcfile 1.5.4 reads ids from 128 on
# as negative ones. A mask of 255 is -1 everywhere, which neither "== 255" nor "> 0" finds. mrcfile itself writes
# such labels with 16 bits, which ITK reads.
#
# Seen, 0 1 2 127 128 200 254 255: written by ITK mrcfile has 0 1 2 127 -128 -56 -2 -1; the other way round all right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet mrcfile==1.5.4 SimpleITK==2.5.7 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import mrcfile
import numpy as np
import SimpleITK as sitk

ids = np.array([0, 1, 2, 127, 128, 200, 254, 255], dtype=np.uint8)
labels = ids.reshape(2, 2, 2)
sitk.WriteImage(sitk.GetImageFromArray(labels), "itk.mrc")
with mrcfile.open("itk.mrc") as read:
    mode, found = int(read.header.mode), read.data.ravel()
print(f"written by ITK in mode {mode}: mrcfile {found}")
assert mode == 0 and found.tolist() == ids.astype(np.int8).tolist()
assert sitk.GetArrayFromImage(sitk.ReadImage("itk.mrc")).ravel().tolist() == ids.tolist()
sitk.WriteImage(sitk.GetImageFromArray(labels.astype(np.uint16)), "itk.mrc")
with mrcfile.open("itk.mrc") as read:
    assert read.data.ravel().tolist() == ids.tolist()

with mrcfile.new("mrcfile.mrc") as written:
    written.set_data(labels)
    mode = int(written.header.mode)
found = sitk.GetArrayFromImage(sitk.ReadImage("mrcfile.mrc")).ravel()
print(f"written by mrcfile in mode {mode}: ITK {found}")
assert mode == 6 and found.tolist() == ids.tolist()
PYTHON
