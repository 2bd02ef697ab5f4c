"""NRRD of Teem and 3D Slicer, the data in it or beside it, and Slicer's layered label maps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.labels import LabelTable
from seg_prior.core.volume import Volume
from seg_prior.errors import ImageError
from seg_prior.io.itk import ItkVoxels, affine_of, bytes_of, open_itk, shape_of, write_itk
from seg_prior.io.packed import check_claim, check_packed
from seg_prior.io.segments import flatten, segments_of
from seg_prior.io.stored import Format, Stored, sides_unknown
from seg_prior.io.text_header import MAX_HEADER_BYTES, TextHeader, parts_by

_IO = "NrrdImageIO"
_SPACES = {"right-anterior-superior", "left-anterior-superior", "left-posterior-superior"}
_SPACES |= {"ras", "las", "lps"}
_MM_PER_UNIT = {"mm": 1.0, "um": 1e-3, "µm": 1e-3, "cm": 10.0, "m": 1e3}
_SEGMENTS = ".seg.nrrd"
_LINE_BYTES = 16
"""The first line is shorter; how it ends, all of them do."""


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Stored]:
    header = _read_header(path)
    reader = open_itk(path, _IO)
    num_bytes = bytes_of(reader)
    is_packed = header.fields.get("encoding", "raw") not in ("raw", "txt", "text", "ascii", "hex")
    check_claim(path, num_bytes, header.stored_bytes, is_packed)
    if header.fields.get("encoding") in ("gzip", "gz"):
        check_packed(header.data, header.start, num_bytes)  # ITK overlooks most damage
    shape, voxels = shape_of(reader), ItkVoxels(reader.Execute)
    warnings = _told(header.fields)
    affine = np.diag([*[_mm_per_unit(path, header.fields)] * 3, 1.0]) @ affine_of(reader)
    if not (path.name.lower().endswith(_SEGMENTS) and len(shape) == 4):
        yield Stored(shape, voxels, None, affine, warnings=warnings)
        return
    label_map, word = flatten(voxels[...], segments_of(header.fields), path)
    yield Stored(label_map.shape, label_map, None, affine, warnings=(*warnings, word))


def _read_header(path: Path) -> TextHeader:
    """The lines up to the empty one, or to the end where the data lie in a file of their own."""
    with path.open("rb") as file:
        text = file.read(MAX_HEADER_BYTES)
    text, gap, _ = text.partition(b"\r\n\r\n" if b"\r\n" in text[:_LINE_BYTES] else b"\n\n")
    fields = {}
    for line in text.decode("utf-8", errors="replace").splitlines()[1:]:
        name, mark, value = line.partition(":")
        if mark and not line.startswith("#"):
            fields[name.strip()] = value.removeprefix("=").strip()
    if not text.startswith(b"NRRD"):
        raise ValueError("it does not begin with NRRD")
    name = fields.get("data file") or fields.get("datafile", "")
    if not name:
        return TextHeader(fields, path, len(text) + len(gap))
    if name.startswith("LIST") or "%" in name or {"line skip", "byte skip"} & fields.keys():
        raise ImageError(
            f"{path}: found data in several files, or behind a part that is to be skipped, need "
            "them in one file and from its start. Convert it to .nii.gz."
        )
    return TextHeader(fields, path.parent / name, 0)


def _told(fields: dict[str, str]) -> tuple[str, ...]:
    space = fields.get("space", "")
    if space.lower() in _SPACES:
        return ()
    return (sides_unknown(f"space {space}" if space else "no space"),)


def _mm_per_unit(path: Path, fields: dict[str, str]) -> float:
    """ITK takes every unit for millimetres."""
    units = set(fields.get("space units", '"mm"').replace('"', " ").split())
    if len(units) > 1 or not units <= _MM_PER_UNIT.keys():
        raise ImageError(
            f"{path}: found space units {' '.join(sorted(units))}, need one of "
            f"{', '.join(_MM_PER_UNIT)} for all axes. Mend its header."
        )
    return _MM_PER_UNIT[units.pop()]


def _write(path: Path, data: NDArray[Any], like: Volume, _: LabelTable | None) -> None:
    write_itk(path, data, like.grid, _IO)


FORMAT = Format(
    "NRRD",
    (".nrrd", ".nhdr", _SEGMENTS),
    _open,
    _write,
    label_maps=(_SEGMENTS,),
    written=(".nrrd",),
    parts=parts_by(_read_header),
)
