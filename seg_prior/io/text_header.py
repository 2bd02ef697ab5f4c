"""What the text says that a file of ITK's formats begins with, where ITK keeps it to itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from seg_prior.errors import ImageError

MAX_HEADER_BYTES = 1 << 20


class TextHeader(NamedTuple):
    """The text of NRRD and MetaImage.

    Attributes:
        fields: Name -> value.
        data: The file that holds the voxels, the same or another one.
        start: Where they begin in it, at the earliest.
    """

    fields: dict[str, str]
    data: Path
    start: int

    @property
    def stored_bytes(self) -> int:
        """Of the voxels as they are stored."""
        return self.data.stat().st_size - self.start


def parts_by(read_header: Callable[[Path], TextHeader]) -> Callable[[Path], list[Path]]:
    """Path -> the files of an image: itself, and where its voxels are if that is another one."""

    def parts(path: Path) -> list[Path]:
        try:
            return list(dict.fromkeys([path, read_header(path).data]))
        except (OSError, ValueError, ImageError):
            return [path]  # who reads it says what is wrong

    return parts
