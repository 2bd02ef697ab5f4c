#!/usr/bin/env bash
# A PET series that has a rescale slope (to Bq/ml) and a mapping to real-world values (here to SUV), as DICOM allows.
# One guesses that readers apply the same one. SimpleITK 2.5.7 (ITK 5.4) has the first and nothing of the second;
# highdicom 0.28.2 (get_volume_from_series) has the second and then not the first. Both look like a PET, and
# neither array says its unit: of one volume, a threshold of SUV 2.5 finds everything in it.
#
# Seen, stored 10, slope 2.5, mapping 0.125: ITK 25.0, highdicom 1.25; highdicom without a mapping 25.0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet SimpleITK==2.5.7 highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

sitk.ProcessObject.GlobalWarningDisplayOff()


def mapping():
    unit = Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "g/ml{SUVbw}", "UCUM", "SUV"
    found = Dataset()
    found.LUTLabel = found.LUTExplanation = "SUV"
    found.add_new("RealWorldValueFirstValueMapped", "US", 0)
    found.add_new("RealWorldValueLastValueMapped", "US", 65535)
    found.RealWorldValueSlope, found.RealWorldValueIntercept = 0.125, 0.0
    found.MeasurementUnitsCodeSequence = [unit]
    return found


def series(folder, is_mapped):
    Path(folder).mkdir()
    uids = {key: generate_uid() for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    for number in range(1, 4):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        for key, uid in uids.items():
            setattr(one, key, uid)
        one.Modality, one.PatientID, one.InstanceNumber, one.Units = "PT", "phantom", number, "BQML"
        one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, 3 * number], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness, one.Rows, one.Columns = [2, 2], 3, 4, 5
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
        one.RescaleSlope, one.RescaleIntercept = 2.5, 0
        if is_mapped:
            one.RealWorldValueMappingSequence = [mapping()]
        one.PixelData = np.full((4, 5), 10, np.uint16).tobytes()
        one.save_as(f"{folder}/{number}.dcm", enforce_file_format=True)


for folder, is_mapped in (("mapped", True), ("plain", False)):
    series(folder, is_mapped)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(folder)
    by_itk = np.unique(sitk.GetArrayFromImage(sitk.ReadImage(names)))
    by_highdicom = np.unique(hd.get_volume_from_series([pydicom.dcmread(name) for name in names]).array)
    print(f"{folder}: ITK {by_itk}, highdicom {by_highdicom}")
    assert by_itk.tolist() == [25]
    assert by_highdicom.tolist() == [1.25 if is_mapped else 25]
PYTHON
