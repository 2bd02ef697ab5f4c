"""A DICOM series, written with pydicom."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from tests.io.formats.awkward import LPS_FROM_RAS


def write_series(
    folder: Path,
    data: NDArray[np.int16],
    affine: NDArray[np.float64],
    name: str = "a",
    slopes: NDArray[np.float64] | None = None,
    **more: Any,
) -> list[Path]:
    """One file a slice, named so that their order is none.

    Args:
        folder: Made if it is missing.
        data: (I, J, K); column, row and slice.
        affine: Voxel -> mm in RAS+, rows and columns orthogonal.
        name: Of the series.
        slopes: (K,) what stored values of each slice are multiplied with.
        more: Further attributes of all files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = LPS_FROM_RAS @ affine
    spacing = np.linalg.norm(there[:3, :3], axis=0)
    cosines = there[:3, :3] / spacing
    study, frame = generate_uid(entropy_srcs=["study"]), generate_uid(entropy_srcs=["frame"])
    order = np.random.default_rng(0).permutation(data.shape[2])
    files = []
    for k in range(data.shape[2]):
        one = Dataset()
        one.PatientName, one.PatientID = "Nobody", "0"
        one.PatientBirthDate, one.PatientSex = "", ""
        one.StudyInstanceUID, one.StudyID, one.AccessionNumber = study, "1", ""
        one.StudyDate, one.StudyTime, one.ReferringPhysicianName = "20200101", "120000", ""
        one.SeriesInstanceUID = generate_uid(entropy_srcs=["series", name])
        one.SOPInstanceUID = generate_uid(entropy_srcs=["image", name, str(k)])
        one.SOPClassUID, one.FrameOfReferenceUID = MRImageStorage, frame
        one.Modality, one.SeriesNumber, one.InstanceNumber = "MR", 3, 100 - k
        one.Manufacturer, one.PositionReferenceIndicator = "nobody", ""
        one.ImagePositionPatient = [f"{v:.10g}" for v in there[:3] @ [0, 0, k, 1]]
        one.ImageOrientationPatient = [f"{v:.10g}" for v in cosines[:, :2].T.ravel()]
        one.PixelSpacing = [f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"]  # rows first
        one.SliceThickness = f"{spacing[2]:.10g}"
        one.Columns, one.Rows = data.shape[:2]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        if slopes is not None:
            one.RescaleSlope, one.RescaleIntercept = f"{slopes[k]:.10g}", "0"
        one.PixelData = data[:, :, k].T.astype("<i2").tobytes()
        for key, value in more.items():
            setattr(one, key, value)
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        files.append(folder / f"{name}{order[k]:03d}.dcm")
        one.save_as(files[-1], enforce_file_format=True)
    return files
