#!/usr/bin/env bash
# A DICOM series whose slices are numbered as they were acquired, every second one first, as interleaved 2-D scans
# may be: DICOM gives InstanceNumber no meaning in space. MONAI 1.6.1 (LoadImage with pydicom 3.0.2) stacks slices
# by that number all the same. One guesses an error, or the order of their positions, which it does read: for the
# affine, whose origin and spacing look right. So the volume is shuffled and nothing shows it but a look.
# ITK (SimpleITK 2.5.7) sorts by position.
#
# Seen, slices 0 to 7: MONAI 0 4 1 5 2 6 3 7 with 2 mm between them, ITK 0 1 2 3 4 5 6 7 with 2 mm.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet monai==1.6.1 torch==2.13.0 pydicom==3.0.2 SimpleITK==2.5.7 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from monai.transforms import LoadImage
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

Path("series").mkdir()
uids = {key: generate_uid() for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
for place, number in enumerate([1, 3, 5, 7, 2, 4, 6, 8]):
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = MRImageStorage
    one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for key, uid in uids.items():
        setattr(one, key, uid)
    one.Modality, one.PatientID, one.InstanceNumber = "MR", "phantom", number
    one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, 2 * place], [1, 0, 0, 0, 1, 0]
    one.PixelSpacing, one.SliceThickness, one.Rows, one.Columns = [1, 1], 2, 4, 5
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
    one.PixelData = np.full((4, 5), place, np.int16).tobytes()
    one.save_as(f"series/{number}.dcm", enforce_file_format=True)

by_monai = LoadImage(reader="PydicomReader", image_only=True)("series")
by_default = LoadImage(image_only=True)("series")
assert np.array_equal(by_monai, by_default)
by_itk = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames("series"))
shuffled, sorted_ = by_monai[0, 0].tolist(), sitk.GetArrayFromImage(by_itk)[:, 0, 0].tolist()
z = np.asarray(by_monai.affine)[2]
print("MONAI", shuffled, "z of its affine", z.tolist())
print("ITK  ", sorted_, "spacing", by_itk.GetSpacing()[2])
assert sorted_ == list(range(8)) and by_itk.GetSpacing()[2] == 2
assert shuffled == [0, 4, 1, 5, 2, 6, 3, 7]
assert np.allclose(z, [0, 0, 2, 0])
PYTHON
