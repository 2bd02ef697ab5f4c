"""MetaImage of ITK, with its data (.mha) or beside it (.mhd)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from seg_prior.errors import ImageError
from seg_prior.io.itk import ItkVoxels, affine_of, bytes_of, open_itk, shape_of
from seg_prior.io.packed import check_claim, check_packed
from seg_prior.io.stored import Format, Stored, sides_unknown
from seg_prior.io.text_header import MAX_HEADER_BYTES, TextHeader, parts_by

_IO = "MetaImageIO"
_LAST = b"ElementDataFile"
_PLACES = {"TransformMatrix", "Orientation", "Rotation"}
"""Names of the field that says how the axes lie in the world."""


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Stored]:
    header = _read_header(path)
    reader = open_itk(path, _IO)
    num_bytes = bytes_of(reader)
    is_packed = header.fields.get("CompressedData", "False").lower() == "true"
    check_claim(path, num_bytes, header.stored_bytes, is_packed)
    if is_packed:
        check_packed(header.data, header.start, num_bytes)  # ITK overlooks nearly all damage
    told = () if _PLACES & header.fields.keys() else (sides_unknown("no TransformMatrix"),)
    voxels = ItkVoxels(reader.Execute)
    yield Stored(shape_of(reader), voxels, None, affine_of(reader), warnings=told)


def _read_header(path: Path) -> TextHeader:
    """The lines up to the one that names the file of the data, which is the last."""
    with path.open("rb") as file:
        text = file.read(MAX_HEADER_BYTES)
    before, _, behind = text.partition(_LAST)
    last, _, _ = behind.partition(b"\n")
    lines = (before + _LAST + last).decode("utf-8", errors="replace").splitlines()
    fields = {name.strip(): value.strip() for name, _, value in (li.partition("=") for li in lines)}
    name = fields.get(_LAST.decode())
    if not name:
        raise ValueError(f"no {_LAST.decode()} in its first megabyte")
    if name == "LOCAL":
        return TextHeader(fields, path, len(before + _LAST + last) + 1)
    if name.startswith("LIST") or "%" in name:
        raise ImageError(
            f"{path}: found data in several files ({name}), need them in one. "
            "Convert it to .nii.gz."
        )
    return TextHeader(fields, path.parent / name, 0)


FORMAT = Format("MetaImage", (".mha", ".mhd"), _open, parts=parts_by(_read_header))
