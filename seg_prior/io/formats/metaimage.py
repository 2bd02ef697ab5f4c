"""MetaImage of ITK, with its data (.mha) or beside it (.mhd)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from seg_prior.errors import ImageError
from seg_prior.io.itk import ItkVoxels, affine_of, bytes_of, open_itk, shape_of
from seg_prior.io.packed import check_claim, check_packed
from seg_prior.io.stored import Format, Stored, sides_unknown

_IO = "MetaImageIO"
_LAST = b"ElementDataFile"
_MAX_HEADER_BYTES = 1 << 20
_PLACES = {"TransformMatrix", "Orientation", "Rotation"}
"""Names of the field that says how the axes lie in the world."""


class _Header(NamedTuple):
    """What ITK does not tell of the text that a file begins with.

    Attributes:
        fields: Name -> value.
        data: The file that holds the voxels.
        start: Where they begin in it, at the earliest.
    """

    fields: dict[str, str]
    data: Path
    start: int


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Stored]:
    header = _read_header(path)
    reader = open_itk(path, _IO)
    num_bytes, stored_bytes = bytes_of(reader), header.data.stat().st_size - header.start
    is_packed = header.fields.get("CompressedData", "False").lower() == "true"
    check_claim(path, num_bytes, stored_bytes, is_packed)
    if is_packed:
        check_packed(header.data, header.start, num_bytes)  # ITK overlooks nearly all damage
    told = () if _PLACES & header.fields.keys() else (sides_unknown("no TransformMatrix"),)
    voxels = ItkVoxels(reader.Execute)
    yield Stored(shape_of(reader), voxels, None, affine_of(reader), warnings=told)


def _read_header(path: Path) -> _Header:
    """The lines up to the one that names the file of the data, which is the last."""
    with path.open("rb") as file:
        text = file.read(_MAX_HEADER_BYTES)
    before, _, behind = text.partition(_LAST)
    last, _, _ = behind.partition(b"\n")
    lines = (before + _LAST + last).decode("utf-8", errors="replace").splitlines()
    fields = {name.strip(): value.strip() for name, _, value in (li.partition("=") for li in lines)}
    name = fields.get(_LAST.decode())
    if not name:
        raise ValueError(f"no {_LAST.decode()} in its first megabyte")
    if name == "LOCAL":
        return _Header(fields, path, len(before + _LAST + last) + 1)
    if name.startswith("LIST") or "%" in name:
        raise ImageError(
            f"{path}: found data in several files ({name}), need them in one. "
            "Convert it to .nii.gz."
        )
    return _Header(fields, path.parent / name, 0)


def _parts(path: Path) -> list[Path]:
    try:
        return list(dict.fromkeys([path, _read_header(path).data]))
    except (OSError, ValueError, ImageError):
        return [path]  # who reads it says what is wrong


FORMAT = Format("MetaImage", (".mha", ".mhd"), _open, parts=_parts)
