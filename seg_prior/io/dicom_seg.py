"""Label maps as DICOM SEG, which refers to the series that was segmented."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_prior import __version__
from seg_prior.core.labels import LabelTable
from seg_prior.errors import OutputError
from seg_prior.io.stored import first_line

_SCHEME = "99SEGPRIOR"
"""Of our codes, whose value is the label's id; DICOM keeps 99 for schemes of one's own."""


def write_segmentation(
    path: Path, data: NDArray[np.integer], files: Sequence[Path], table: LabelTable | None
) -> None:
    """Write one segment for each label that is there, every slice of each, empty ones included.

    Readers that stack the slices that they find would close a gap up.

    Args:
        path: Ends in .dcm.
        data: (I, J, K) ids; column, row and slice.
        files: Of the series, one for each slice, in the order of the third axis.
        table: Names of the ids.

    Raises:
        OutputError: The series lacks what a segmentation has to repeat.
    """
    import pydicom

    sources = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    ids = [int(label) for label in np.unique(data) if label != 0]
    if not ids:
        raise OutputError(
            f"{path}: found no voxel of any label, need one for a DICOM SEG. Name another OUT, for "
            "instance one that ends in .nii.gz."
        )
    masks = np.stack([data.transpose(2, 1, 0) == label for label in ids], axis=-1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names of patients, which are as they came
            made = _segmentation(sources, masks.astype(np.uint8), _descriptions(ids, table))
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise OutputError(
            f"{path}: the DICOM series lacks what a DICOM SEG repeats of it "
            f"({first_line(error)}), need that. Name another OUT, for instance one that ends in "
            ".nii.gz."
        ) from error
    made.save_as(path)


def _segmentation(sources: list[Any], masks: NDArray[np.uint8], descriptions: list[Any]) -> Any:
    import highdicom

    return highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=masks,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=highdicom.UID(),
        series_number=1000 + int(sources[0].get("SeriesNumber") or 0),
        series_description="seg-prior label map",
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="seg-prior",
        manufacturer_model_name="seg-prior",
        software_versions=__version__,
        device_serial_number="0",
        omit_empty_frames=False,
    )


def _descriptions(ids: Sequence[int], table: LabelTable | None) -> list[Any]:
    """What each segment is: its name, and its id as a code of our own."""
    import highdicom
    from pydicom.sr.codedict import codes

    names = {} if table is None else {label.id: label.name for label in table.labels}
    method = highdicom.AlgorithmIdentificationSequence(
        name="seg-prior", family=codes.cid7162.ArtificialIntelligence, version=__version__
    )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=names.get(label, f"label {label}")[:64],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=highdicom.sr.CodedConcept(
                str(label), _SCHEME, names.get(label, f"label {label}")[:64]
            ),
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=method,
        )
        for number, label in enumerate(ids, start=1)
    ]
