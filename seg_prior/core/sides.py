"""Left and right, as names of labels and FreeSurfer's ids have them."""

from __future__ import annotations

import re
from typing import Literal

from seg_prior.core.freesurfer import MEAN17
from seg_prior.core.labels import LabelTable

Pairs = list[tuple[int, int]]
"""(left, right) indices of a label table."""

MIN_FREESURFER_PAIRS = 3
"""So many pairs of ids are no coincidence."""

_SIDES = {"Left": "Right", "left": "right", "lh": "rh"}
_OTHER_SIDE = _SIDES | {right: left for left, right in _SIDES.items()}
_SIDE = re.compile(
    r"^(?:Left|Right|left|right)|(?<![A-Za-z])(?:Left|Right|left|right|lh|rh)(?![A-Za-z])"
)


def side_of(name: str) -> Literal["left", "right"] | None:
    """Which side the name of a label speaks of; None if of neither."""
    found = _SIDE.search(name)
    if found is None:
        return None
    return "left" if found[0] in _SIDES else "right"


def mirrored_name(name: str) -> str:
    """The name with the other side in it, or the same."""
    return _SIDE.sub(lambda match: _OTHER_SIDE[match[0]], name, count=1)


def name_without_side(name: str) -> str:
    """`Left-Thalamus` -> `thalamus`: what both sides share."""
    return re.sub(r"[^a-z0-9]+", "_", _SIDE.sub("", name, count=1).lower()).strip("_") or name


def merged_sides(table: LabelTable) -> tuple[LabelTable, list[tuple[int, ...]]]:
    """The table with partners as one label, and the indices that each of its labels stands for.

    The label has the id of the first, and its name without the side, unless that is taken.
    """
    groups = [
        tuple(dict.fromkeys((index, int(partner))))
        for index, partner in enumerate(table.partner)
        if index <= partner
    ]
    taken = {table.names[index] for group in groups if len(group) == 1 for index in group}
    labels = []
    for first, *others in groups:
        label = table.labels[first]
        name = re.sub(r"[-_ ]{2,}", "-", _SIDE.sub("", label.name, count=1)).strip("-_ ")
        if others:
            ids = tuple(i for n in (first, *others) for i in table.labels[n].source_ids)
            called = label.name if not name or name in taken else name
            taken.add(called)
            merged = {"name": called, "partner_id": label.id, "source_ids": ids}
            label = label.model_copy(update=merged)
        labels.append(label)
    return LabelTable(labels=tuple(labels)), groups


def left_right_pairs(table: LabelTable) -> Pairs:
    """Pairs of structures whose names say left and right.

    Where no name speaks of a side, ids that can be none but FreeSurfer's.
    """
    structures = [(n, label) for n, label in enumerate(table.labels) if label.is_structure]
    index_of_name = {label.name: n for n, label in structures}
    if any(side_of(name) for name in index_of_name):
        return [
            (n, index_of_name[mirrored_name(label.name)])
            for n, label in structures
            if side_of(label.name) == "left" and mirrored_name(label.name) in index_of_name
        ]
    index_of_id = {label.id: n for n, label in structures}
    pairs = [
        (index_of_id[ids[0]], index_of_id[ids[1]])
        for ids in MEAN17.values()
        if len(ids) == 2 and set(ids) <= set(index_of_id)
    ]
    return pairs if len(pairs) >= MIN_FREESURFER_PAIRS else []
