"""A folder with a DICOM series, as pydicom wrote it, and DICOM SEG, as highdicom reads it."""

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_prior.core.grid import Grid
from seg_prior.core.labels import LabelTable
from seg_prior.core.volume import Volume
from seg_prior.errors import ConfigError, ExtraError, ImageError, OutputError
from seg_prior.io.find import find_images
from seg_prior.io.formats import check_target, content_sha256, strip_suffix
from seg_prior.io.read import read_volume
from seg_prior.io.write import write_volume
from tests.io.formats.awkward import (
    LPS_FROM_RAS,
    RIGID,
    SHAPE,
    check_same,
    intensities,
    label_map,
    refusal,
)

pydicom = pytest.importorskip("pydicom", reason="no pydicom; pip install 'seg-prior[dicom]'")
highdicom = pytest.importorskip("highdicom", reason="no highdicom; pip install 'seg-prior[dicom]'")
files_of = pytest.importorskip("tests.io.formats.dicom_files")


def upwards(affine: NDArray[np.float64], data: NDArray[np.generic]) -> tuple[NDArray, NDArray]:
    """A grid and its data with slices in the order of their normal, which is ours."""
    there = (LPS_FROM_RAS @ affine)[:3, :3]
    if np.cross(there[:, 0], there[:, 1]) @ there[:, 2] > 0:
        return affine, data
    turned = affine.copy()
    turned[:3, 2], turned[:3, 3] = -affine[:3, 2], affine[:3] @ [0, 0, data.shape[2] - 1, 1]
    return turned, data[:, :, ::-1]


@pytest.mark.parametrize("name", RIGID)
def test_a_series_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    files_of.write_series(tmp_path / "scan", intensities(), RIGID[name])
    volume = read_volume(tmp_path / "scan")
    affine, data = upwards(RIGID[name], intensities())
    check_same(volume, data, affine)
    assert volume.warnings == ()
    positions = [pydicom.dcmread(file).ImagePositionPatient for file in volume.header.files]
    ours = [(LPS_FROM_RAS @ volume.grid.affine)[:3] @ [0, 0, k, 1] for k in range(SHAPE[2])]
    np.testing.assert_allclose(np.array(positions, dtype=float), ours, atol=1e-4)


def test_the_tilt_of_a_gantry_stays_in_the_affine(tmp_path: Path) -> None:
    affine = RIGID["oblique"].copy()
    affine[:3, 2] += 0.3 * affine[:3, 1]
    files_of.write_series(tmp_path / "scan", intensities(), affine)
    tilted, data = upwards(affine, intensities())
    check_same(read_volume(tmp_path / "scan"), data, tilted)


def test_each_slice_is_rescaled_by_its_own_file(tmp_path: Path) -> None:
    slopes = np.linspace(0.5, 2, SHAPE[2])
    files_of.write_series(tmp_path / "scan", intensities(), RIGID["oblique"], slopes=slopes)
    _, data = upwards(RIGID["oblique"], intensities() * slopes)
    np.testing.assert_allclose(read_volume(tmp_path / "scan").data, data, rtol=1e-6)


def test_a_folder_is_found_as_one_scan(tmp_path: Path) -> None:
    for name in ("1.2.840.1", "1.2.840.2"):
        files_of.write_series(tmp_path / name, intensities(), np.eye(4), name)
    assert find_images([tmp_path]) == [tmp_path / "1.2.840.1", tmp_path / "1.2.840.2"]
    assert find_images([tmp_path / "1.2.840.1"]) == [tmp_path / "1.2.840.1"]
    assert find_images([tmp_path / "1.2.*"]) == [tmp_path / "1.2.840.1", tmp_path / "1.2.840.2"]
    assert strip_suffix(tmp_path / "1.2.840.1") == "1.2.840.1"


def test_every_file_counts_for_what_a_series_is(tmp_path: Path) -> None:
    files = files_of.write_series(tmp_path / "scan", intensities(), np.eye(4))
    before = content_sha256(tmp_path / "scan")
    (tmp_path / "scan" / "notes.txt").write_text("no part of it")
    assert content_sha256(tmp_path / "scan") == before
    raw = bytearray(files[3].read_bytes())
    raw[-1] ^= 1
    files[3].write_bytes(raw)
    assert content_sha256(tmp_path / "scan") != before


def test_what_is_no_single_stack_is_refused(tmp_path: Path) -> None:
    def series(folder: str, name: str = "a", **more: object) -> list[Path]:
        return files_of.write_series(tmp_path / folder, intensities(), np.eye(4), name, **more)

    series("mixed"), series("mixed", "b")
    message = refusal(tmp_path / "mixed")
    assert "found 2 DICOM series (7 files as " in message
    assert message.endswith("Put each into a folder of its own.")

    series("gap")[3].unlink()
    assert "found slices that are 1 to 2 mm apart, need one stack" in refusal(tmp_path / "gap")

    files = series("twice")
    doubled = pydicom.dcmread(files[0])
    doubled.SOPInstanceUID = pydicom.uid.generate_uid()
    doubled.save_as(tmp_path / "twice" / "more.dcm")
    assert "found several slices at one place" in refusal(tmp_path / "twice")

    series("mosaic", ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    assert "side by side in one picture (MOSAIC)" in refusal(tmp_path / "mosaic")

    for file in series("one")[1:]:
        file.unlink()
    assert "found one slice" in refusal(tmp_path / "one")

    files = series("turned")
    turned = pydicom.dcmread(files[2])
    turned.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    turned.save_as(files[2])
    assert "found slices in several directions" in refusal(tmp_path / "turned")

    assert "found one file of a DICOM series, need all of them" in refusal(files[0])
    (tmp_path / "empty").mkdir()
    assert "found a folder without a DICOM series" in refusal(tmp_path / "empty")


def table_of(names: dict[int, str]) -> LabelTable:
    return LabelTable.model_validate(
        {
            "labels": [
                {
                    "id": label,
                    "name": name,
                    "source_ids": [label],
                    "intensity_class": name,
                    "partner_id": label,
                    "is_structure": label > 0,
                }
                for label, name in names.items()
            ]
        }
    )


def read_segmentation(path: Path, volume: Volume) -> tuple[NDArray[np.int_], dict[int, str]]:
    """Ids on the grid of a volume, put together frame by frame from their positions."""
    found = highdicom.seg.segread(path)
    pixels = found.pixel_array
    shared = found.SharedFunctionalGroupsSequence[0]
    direction = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    there = LPS_FROM_RAS @ volume.grid.affine
    np.testing.assert_allclose(direction[:3], there[:3, 0] / spacing[1], atol=1e-4)
    np.testing.assert_allclose(direction[3:], there[:3, 1] / spacing[0], atol=1e-4)
    code_of = {
        one.SegmentNumber: int(one.SegmentedPropertyTypeCodeSequence[0].CodeValue)
        for one in found.SegmentSequence
    }
    names = {code_of[one.SegmentNumber]: one.SegmentLabel for one in found.SegmentSequence}
    ids = np.zeros(volume.grid.shape, int)
    for frame, pixel in zip(found.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        index = np.linalg.solve(there, [*position, 1])
        np.testing.assert_allclose(index, np.rint(index), atol=1e-3)
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        ids[:, :, round(index[2])][pixel.T > 0] = code_of[number]
    return ids, names


@pytest.mark.parametrize("name", RIGID)
def test_highdicom_reads_every_slice_of_what_is_written(tmp_path: Path, name: str) -> None:
    files_of.write_series(tmp_path / "scan", intensities(), RIGID[name])
    volume = read_volume(tmp_path / "scan")
    ids = label_map()
    ids[:, :, 2:5] = 0  # slices without any label
    table = table_of({0: "Background", 2: "White-Matter", 17: "Hippocampus", 41: "Other"})
    write_volume(tmp_path / "seg.dcm", ids, volume, table)
    found, names = read_segmentation(tmp_path / "seg.dcm", volume)
    assert np.array_equal(found, ids)
    assert names == {2: "White-Matter", 17: "Hippocampus", 41: "Other"}
    header = pydicom.dcmread(tmp_path / "seg.dcm")
    assert header.NumberOfFrames == 3 * SHAPE[2]
    first = pydicom.dcmread(volume.header.files[0])
    for key in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert header[key].value == first[key].value


def test_a_segmentation_beside_its_series_is_no_second_series(tmp_path: Path) -> None:
    files_of.write_series(tmp_path / "scan", intensities(), RIGID["oblique"])
    volume = read_volume(tmp_path / "scan")
    write_volume(tmp_path / "scan" / "seg.dcm", label_map(), volume)
    again = read_volume(tmp_path / "scan")
    assert np.array_equal(again.data, volume.data)


def test_many_frames_in_one_file_are_refused(tmp_path: Path) -> None:
    files_of.write_series(tmp_path / "scan", intensities(), RIGID["oblique"])
    write_volume(tmp_path / "seg.dcm", label_map(), read_volume(tmp_path / "scan"))
    enhanced = pydicom.dcmread(tmp_path / "seg.dcm")
    enhanced.Modality = "MR"
    (tmp_path / "enhanced").mkdir()
    enhanced.save_as(tmp_path / "enhanced" / "a.dcm")
    with pytest.raises(ImageError, match="found 21 frames in one DICOM file, need a file for each"):
        read_volume(tmp_path / "enhanced")


def test_what_cannot_become_a_segmentation_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files_of.write_series(tmp_path / "scan", intensities(), np.eye(4))
    check_target(tmp_path / "a.dcm", tmp_path / "scan")
    grid = Volume(label_map(), Grid(SHAPE, np.eye(4)))
    write_volume(tmp_path / "scan.nii.gz", label_map(), grid)
    with pytest.raises(ConfigError, match=r"scan.nii.gz, which is no DICOM series, need one"):
        check_target(tmp_path / "a.dcm", tmp_path / "scan.nii.gz")
    volume = read_volume(tmp_path / "scan")
    with pytest.raises(OutputError, match="found no voxel of any label, need one"):
        write_volume(tmp_path / "a.dcm", np.zeros(SHAPE, np.uint8), volume)
    for file in volume.header.files:
        header = pydicom.dcmread(file)
        del header.PatientID
        header.save_as(file)
    with pytest.raises(OutputError, match="the DICOM series lacks what a DICOM SEG repeats"):
        write_volume(tmp_path / "a.dcm", label_map(), volume)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ExtraError, match=r"Run: pip install 'seg-prior\[dicom\]'$"):
        check_target(tmp_path / "a.dcm", tmp_path / "scan")
