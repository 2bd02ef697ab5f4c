#!/usr/bin/env bash
# A mask is written as RT Structure Set and read back by the same library, rt-utils 1.2.7. One guesses that it comes
# back as it was but for single voxels of its border, or turned as a whole. Where slices are no squares, rt-utils makes
# masks of Columns x Rows and paints rows and columns into them: what lies beyond the smaller of both is gone, the
# rest is at its place, and nothing is said. The file is right; with square slices it comes back in full.
#
# Seen, a ball in 40 rows and 50 columns: written 40 x 50 x 12, read 50 x 40 x 12, without the columns from 40 on:
# 2915 of 3551 voxels, all of them right. In 50 rows and 50 columns all 3551.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet rt-utils==1.2.7 opencv-python==5.0.0.93 pydicom==3.0.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from rt_utils import RTStructBuilder

SLICES = 12


def series(folder, rows, columns):
    Path(folder).mkdir()
    uids = {key: generate_uid() for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    for number in range(SLICES):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = CTImageStorage
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        for key, uid in uids.items():
            setattr(one, key, uid)
        one.Modality, one.PatientID, one.InstanceNumber, one.StudyDate = "CT", "phantom", number + 1, "20260101"
        one.PatientName, one.StudyID, one.SeriesNumber, one.StudyTime = "phantom", "1", 1, "000000"
        for name in ("PatientBirthDate", "PatientSex", "AccessionNumber", "ReferringPhysicianName", "StudyDescription"):
            setattr(one, name, "")
        one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, 3 * number], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness, one.Rows, one.Columns = [2, 1], 3, rows, columns
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
        one.PixelData = np.zeros((rows, columns), np.uint16).tobytes()
        one.save_as(f"{folder}/{number}.dcm", enforce_file_format=True)


for rows, columns in ((40, 50), (50, 50)):
    folder = f"{rows}x{columns}"
    series(folder, rows, columns)
    row, column, place = np.indices((rows, columns, SLICES))
    ball = (row - 20) ** 2 + (column - 34) ** 2 + (2 * (place - 6)) ** 2 < 144
    made = RTStructBuilder.create_new(dicom_series_path=folder)
    made.add_roi(mask=ball, name="ball")
    made.save("ball.dcm")
    read = RTStructBuilder.create_from(dicom_series_path=folder, rt_struct_path="ball.dcm")
    found = read.get_roi_mask_by_name("ball")
    print(f"{rows} rows, {columns} columns: {ball.sum()} voxels of {ball.shape}, read {found.sum()} of {found.shape}")
    assert found.shape == (columns, rows, SLICES)
    side = min(rows, columns)
    assert np.array_equal(found[:side, :side], ball[:side, :side])
    assert found.sum() == ball[:side, :side].sum() and ball.sum() == 3551
    assert found.sum() == (2915 if side == 40 else 3551)
PYTHON
