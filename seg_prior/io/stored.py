"""What a format of images is: its suffixes, how it is read, how it is written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.labels import LabelTable
from seg_prior.core.volume import Volume
from seg_prior.errors import ExtraError


class Stored(NamedTuple):
    """What an image file holds, its voxels not read yet.

    Attributes:
        shape: Of the array.
        dataobj: What indexing reads voxels from, scaled as the header says.
        header: Of NIfTI and MGH the nibabel header; of a DICOM series what a segmentation refers
            to; else None.
        affine: (4, 4), voxel -> mm in RAS+.
        step: Between neighbouring values of an integer that is stored scaled; 0 of any other.
        warnings: What is odd but readable, one line each.
        unit_mm: In which the header counts, where that is told in messages.
    """

    shape: tuple[int, ...]
    dataobj: Any
    header: Any
    affine: NDArray[np.float64]
    step: float = 0.0
    warnings: tuple[str, ...] = ()
    unit_mm: float = 1.0


@dataclass(frozen=True)
class Format:
    """A format of images.

    Attributes:
        name: In messages.
        suffixes: Of files that are read: lower case, with the dot.
        open: Path -> what is stored, readable inside the block. Raises ImageError for a damaged
            file, ExtraError for a missing package.
        write: (path, data, like, table) writes an array on the grid of `like`: integers are of
            the smallest unsigned type, all else is float32; `table` names the ids of a label map.
            None for a format that is only read.
        label_maps: Of these, those of label maps alone, which a folder of scans may hold.
        written: Suffixes of files that are written.
        parts: Path -> the files that hold the image, for one that is more than one file.
        holds: Whether a folder is an image of this format; None where images are files.
        goes_home: Whether it is written only for a scan that was read from it.
        needed: Package that writing asks for, and the extra that brings it.
    """

    name: str
    suffixes: tuple[str, ...]
    open: Callable[[Path], AbstractContextManager[Stored]]
    write: Callable[[Path, NDArray[Any], Volume, LabelTable | None], None] | None = None
    label_maps: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    parts: Callable[[Path], list[Path]] = lambda path: [path]
    holds: Callable[[Path], bool] | None = None
    goes_home: bool = False
    needed: tuple[str, str] | None = None


def sides_unknown(why: str) -> str:
    """The warning for a header that does not say where left and right are."""
    return (
        f"its header does not say where left and right are ({why}), so sides are a guess; "
        "write its sform with the program that made it"
    )


def missing_extra(what: str, package: str, extra: str) -> ExtraError:
    """The error for an optional package that is asked for and not installed."""
    return ExtraError(
        f"{what}: found no {package}, need it for this format. "
        f"Run: pip install 'seg-prior[{extra}]'"
    )


def first_line(error: BaseException) -> str:
    """What an error of a library says, short enough for a message."""
    text = str(error).rpartition("ITK ERROR: ")[2].strip()
    return (text or type(error).__name__).splitlines()[0][:200]
