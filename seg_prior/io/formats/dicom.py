"""A folder with the files of one DICOM series; results go home as DICOM SEG."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from seg_prior.core.labels import LabelTable
from seg_prior.core.volume import Volume
from seg_prior.errors import ImageError
from seg_prior.io.dicom_seg import write_segmentation
from seg_prior.io.itk import ItkVoxels, affine_of, open_itk, quiet_itk
from seg_prior.io.stored import Format, Stored

_IO = "GDCMImageIO"
_MAGIC, _PREAMBLE_BYTES = b"DICM", 128
_NO_SCANS = {"SEG", "SR", "PR", "KO", "RTSTRUCT", "RTDOSE", "RTPLAN", "DOC"}
"""Modalities of what may lie in the folder of a scan and is none."""
_POSITION, _MODALITY, _KIND = "0020|0032", "0008|0060", "0008|0008"
_MAX_TURN, _MAX_SHIFT = 1e-3, 0.02
"""Of the axes from slice to slice; of a slice from its place, in distances between slices."""
_NUM_LOOKED_AT = 8
"""So many files that could be DICOM are looked at before a folder is taken for something else."""


class DicomSeries(NamedTuple):
    """What a segmentation of a series refers to.

    Attributes:
        files: One a slice, in the order of the third axis.
    """

    files: tuple[Path, ...]


class _Slice(NamedTuple):
    """One file: its plane and what is special about it."""

    path: Path
    axes: NDArray[np.float64]
    position: NDArray[np.float64]
    shape: tuple[int, ...]
    kind: str


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Stored]:
    if not path.is_dir():
        raise ImageError(
            f"{path}: found one file of a DICOM series, need all of them. Name the folder that "
            "they lie in."
        )
    slices = [_describe(file) for file in _series_in(path)]
    slices, affine = _in_order(path, slices)
    files = tuple(one.path for one in slices)
    shape = (*slices[0].shape[:2], len(slices))
    yield Stored(shape, ItkVoxels(lambda: _read(files)), DicomSeries(files), affine)


def _read(files: Sequence[Path]) -> sitk.Image:
    """The slices in this order, each rescaled by its own file."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in files])
    reader.SetImageIO(_IO)
    reader.SetOutputPixelType(sitk.sitkFloat32)
    return reader.Execute()


def _series_in(folder: Path) -> list[Path]:
    """The files of the one series of scans in a folder.

    Raises:
        ImageError: There is none, or several.
    """
    with quiet_itk():
        names = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        found = {n: sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), n) for n in names}
        scans = {n: files for n, files in found.items() if _modality(files[0]) not in _NO_SCANS}
    if len(scans) != 1:
        counts = ", ".join(f"{len(files)} files as {files[0]}" for files in scans.values())
        raise ImageError(
            f"{folder}: found {len(scans)} DICOM series{f' ({counts})' if counts else ''}, need "
            "one. Put each into a folder of its own."
        )
    (files,) = scans.values()
    return [Path(file) for file in files]


def _modality(file: str) -> str:
    reader = open_itk(Path(file), _IO)
    return reader.GetMetaData(_MODALITY).strip() if reader.HasMetaDataKey(_MODALITY) else ""


def _describe(file: Path) -> _Slice:
    reader = open_itk(file, _IO)
    if reader.GetSize()[2:] not in ((), (1,)):
        raise ImageError(
            f"{file}: found {reader.GetSize()[2]} frames in one DICOM file, need a file for each "
            "slice. Convert it to .nii.gz, for instance with dcm2niix."
        )
    if not reader.HasMetaDataKey(_POSITION) or reader.GetNumberOfComponents() > 1:
        raise ImageError(
            f"{file}: found a picture in color or without a place in the patient, need slices of a "
            "scan. Take it out of the folder."
        )
    affine = affine_of(reader)
    kind = reader.GetMetaData(_KIND) if reader.HasMetaDataKey(_KIND) else ""
    return _Slice(file, affine[:3, :3], affine[:3, 3], tuple(reader.GetSize()), kind)


def _in_order(folder: Path, slices: list[_Slice]) -> tuple[list[_Slice], NDArray[np.float64]]:
    """Slices along their normal, and voxel -> mm in RAS+, with the tilt of a gantry.

    Raises:
        ImageError: They are no stack of equal, parallel, evenly spaced planes.
    """

    def refuse(found: str) -> ImageError:
        return ImageError(
            f"{folder}: found {found}, need one stack of parallel, evenly spaced slices. "
            "Is a file missing, or one too many? Else convert it, for instance with dcm2niix."
        )

    first = slices[0]
    if "MOSAIC" in first.kind:
        raise refuse("slices side by side in one picture (MOSAIC)")
    if len(slices) < 2:
        raise refuse("one slice")
    if any(one.shape != first.shape for one in slices):
        raise refuse("slices of several sizes")
    turns = max(float(np.abs(one.axes[:, :2] - first.axes[:, :2]).max()) for one in slices)
    if turns > _MAX_TURN:
        raise refuse("slices in several directions, or of several pixel sizes")
    normal = np.cross(first.axes[:, 0], first.axes[:, 1])
    normal /= np.linalg.norm(normal)
    slices = sorted(slices, key=lambda one: float(one.position @ normal))
    positions = np.array([one.position for one in slices])
    gaps_mm = np.diff(positions @ normal)
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    away_mm = np.abs(positions - positions[0] - np.arange(len(slices))[:, None] * step).max()
    if gaps_mm.min() < 1e-4:
        raise refuse("several slices at one place")
    if away_mm > _MAX_SHIFT * float(step @ normal):
        raise refuse(f"slices that are {gaps_mm.min():.4g} to {gaps_mm.max():.4g} mm apart")
    affine = np.eye(4)
    affine[:3, :2], affine[:3, 2], affine[:3, 3] = first.axes[:, :2], step, positions[0]
    return slices, affine


def _holds(folder: Path) -> bool:
    """Whether a folder has DICOM files of its own; not where it cannot be looked at."""
    try:
        names = sorted(name for name in os.listdir(folder) if _may_be_dicom(name))
        return any(_is_dicom(folder / name) for name in names[:_NUM_LOOKED_AT])
    except OSError:
        return False


def _may_be_dicom(name: str) -> bool:
    end = os.path.splitext(name)[1].lower()
    # Names that are UIDs end in a number.
    is_named = end in ("", ".", ".dcm", ".ima") or end[1:].isdigit()
    return is_named and not name.startswith(".") and name.upper() != "DICOMDIR"


def _is_dicom(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(_PREAMBLE_BYTES + len(_MAGIC))[_PREAMBLE_BYTES:] == _MAGIC


def _parts(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return [folder]
    return sorted(file for file in folder.iterdir() if _may_be_dicom(file.name) and _is_dicom(file))


def _write(path: Path, data: NDArray[Any], like: Volume, table: LabelTable | None) -> None:
    assert isinstance(like.header, DicomSeries)
    write_segmentation(path, data, like.header.files, table)


FORMAT = Format(
    "DICOM series",
    (),
    _open,
    _write,
    written=(".dcm",),
    parts=_parts,
    holds=lambda path: path.is_dir() and _holds(path),
    goes_home=True,
    needed=("highdicom", "dicom"),
)
