#!/usr/bin/env bash
# A DICOM series whose slices have rescale slopes of their own, as PET has. ITK (SimpleITK 2.5.7) applies each
# slope, one guesses, and it does; but the type of the whole volume is that of the first file. Is its slope a
# whole number (a slice of air, slope 1), all others are cut off to whole numbers, without a warning:
# activities below 1 are gone. The same files with the first slope 0.5 are read exactly.
#
# Seen, stored value 3 and slopes 1 0.5 0.25 0.1: 16-bit integers 3 1 0 0. First slope 0.5: floats, all exact.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet SimpleITK==2.5.7 pydicom==3.0.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

sitk.ProcessObject.GlobalWarningDisplayOff()


def series(folder, slopes):
    Path(folder).mkdir()
    uids = {key: generate_uid() for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    for number, slope in enumerate(slopes, start=1):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        for key, uid in uids.items():
            setattr(one, key, uid)
        one.Modality, one.PatientID, one.InstanceNumber = "PT", "phantom", number
        one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, 3 * number], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness, one.Rows, one.Columns = [2, 2], 3, 4, 5
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.RescaleSlope, one.RescaleIntercept = slope, 0
        one.PixelData = np.full((4, 5), 3, np.int16).tobytes()
        one.save_as(f"{folder}/{number}.dcm", enforce_file_format=True)


def read(folder):
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(folder)
    assert [Path(name).name for name in names] == [f"{n}.dcm" for n in range(1, 5)]
    image = sitk.ReadImage(names)
    return image.GetPixelIDTypeAsString(), sitk.GetArrayFromImage(image)[:, 0, 0]


for folder, first in (("whole", 1), ("half", 0.5)):
    slopes = [first, 0.5, 0.25, 0.1]
    series(folder, slopes)
    kind, values = read(folder)
    print(f"first slope {first}: {kind}, {values}, true {3 * np.array(slopes)}")
    if first == 1:
        assert "integer" in kind and values.tolist() == [3, 1, 0, 0]
    else:
        assert "float" in kind and np.allclose(values, 3 * np.array(slopes))
PYTHON
