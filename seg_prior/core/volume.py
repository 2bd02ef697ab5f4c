"""A Volume is an array and where it lies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from seg_prior.core.grid import Grid


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D array on a grid.

    Attributes:
        data: (I, J, K), in file order, scaled intensities or label ids.
        grid: Shape and voxel -> mm RAS+ affine (the sform if its code is set, else the qform).
        header: What a result goes home with, as `seg_prior.io.stored.Stored` has it: codes and
            units of NIfTI, the files of a DICOM series; None for what needs none.
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
