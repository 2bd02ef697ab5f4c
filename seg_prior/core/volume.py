"""A Volume is an array and where it lies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from seg_prior.core.grid import Grid

SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh")


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D array on a grid.

    Attributes:
        data: (I, J, K), in file order, scaled intensities or label ids.
        grid: Shape and voxel -> mm RAS+ affine (the sform if its code is set, else the qform).
        header: The file's own header, so that a result goes home with the same codes and units;
            None for arrays that never were a file.
        source: Name shown in messages.
        warnings: What is odd but readable, one line each.
    """

    data: NDArray[Any]
    grid: Grid
    header: Any = None
    source: str = "<array>"
    warnings: tuple[str, ...] = field(default=())

    def __repr__(self) -> str:
        return f"Volume({self.source}: {self.grid.size}, {self.data.dtype})"


def gathered(remarks: Iterable[tuple[str, str]]) -> list[str]:
    """One line for each text: `a.nii.gz and 3 more: text`.

    Args:
        remarks: (source, text) pairs.
    """
    sources: dict[str, list[str]] = {}
    for source, text in remarks:
        sources.setdefault(text, []).append(source)
    return [
        f"{first}{f' and {len(others)} more' if others else ''}: {text}"
        for text, (first, *others) in sources.items()
    ]


def strip_suffix(path: Path) -> str:
    """The file's name without its image suffix.

    >>> strip_suffix(Path("scans/sub-01_T1w.nii.gz"))
    'sub-01_T1w'
    """
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem
