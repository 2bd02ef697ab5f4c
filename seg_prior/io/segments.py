"""Segments of 3D Slicer in layers: one label map of them, or a refusal where they overlap."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_prior.errors import ImageError, few


class Segment(NamedTuple):
    """A segment: which voxels of which layer it is, and what it is called."""

    name: str
    layer: int
    value: int


def segments_of(fields: Mapping[str, str]) -> list[Segment]:
    """The segments that the header of a `.seg.nrrd` lists, in its order.

    Args:
        fields: Those whose names begin with `Segment<number>_`, and others.

    Raises:
        ValueError: A layer or a value is no number.
    """
    numbers = sorted({int(found[1]) for key in fields if (found := _SEGMENT.match(key))})

    def field(number: int, name: str, default: object) -> str:
        return fields.get(f"Segment{number}_{name}", str(default))

    return [
        Segment(
            field(number, "Name", f"segment {number}"),
            int(field(number, "Layer", 0)),
            int(field(number, "LabelValue", number + 1)),
        )
        for number in numbers
    ]


_SEGMENT = re.compile(r"Segment(\d+)_")


def flatten(
    layers: NDArray[np.integer], segments: Sequence[Segment], path: Path
) -> tuple[NDArray[np.integer], str]:
    """One label map of layers, and a word on what was done.

    Ids are the label values of the segments where no two have the same one; else segments are
    numbered from 1 in the header's order.

    Args:
        layers: (I, J, K, number of layers) label values.
        segments: Of the header.
        path: Told in the message.

    Raises:
        ImageError: Two segments share a voxel, or voxels belong to no segment.
    """
    values = [segment.value for segment in segments]
    is_unique = len(set(values)) == len(values)
    ids = values if is_unique else list(range(1, len(segments) + 1))
    out = np.zeros(layers.shape[:3], np.int32)
    for segment, new in zip(segments, ids, strict=True):
        mask = layers[..., segment.layer] == segment.value
        shared = np.unique(out[mask & (out > 0)])
        if shared.size:
            other = segments[ids.index(int(shared[0]))].name
            raise ImageError(
                f"{path}: found {int((mask & (out > 0)).sum())} voxels that are both {other} and "
                f"{segment.name}, need one label for each voxel. Make the segments disjoint, as "
                "3D Slicer does with 'Allow overlap' off."
            )
        out[mask] = new
    num_others = int(((layers != 0).any(-1) & (out == 0)).sum())
    if num_others:
        raise ImageError(
            f"{path}: found {num_others} voxels of no segment that its header lists, need all "
            "of them to be. Save it again with 3D Slicer."
        )
    word = f"{layers.shape[3]} layers of segments were made one label map"
    if not is_unique:
        names = few([f"{new} {s.name}" for new, s in zip(ids, segments, strict=True)])
        word += f"; label values occur twice, so the ids are {names}"
    return out, word
