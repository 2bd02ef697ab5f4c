"""What FreeSurfer's label ids say of a brain: the 17 structures, the inside of the skull."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from seg_prior.core.labels import LabelTable

MEAN17: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "cerebral white matter": (2, 41),
        "cerebral cortex": (3, 42),
        "lateral ventricle": (4, 43),
        "inferior lateral ventricle": (5, 44),
        "cerebellar white matter": (7, 46),
        "cerebellar cortex": (8, 47),
        "thalamus": (10, 49),
        "caudate": (11, 50),
        "putamen": (12, 51),
        "pallidum": (13, 52),
        "hippocampus": (17, 53),
        "amygdala": (18, 54),
        "accumbens": (26, 58),
        "ventral DC": (28, 60),
        "3rd ventricle": (14,),
        "4th ventricle": (15,),
        "brain stem": (16,),
    }
)
"""The 17 structures of the brain benchmark and their FreeSurfer ids, left before right."""

COLOURS: Mapping[int, tuple[int, int, int]] = MappingProxyType(
    {
        2: (245, 245, 245),
        3: (205, 62, 78),
        4: (120, 18, 134),
        5: (196, 58, 250),
        7: (220, 248, 164),
        8: (230, 148, 34),
        10: (0, 118, 14),
        11: (122, 186, 220),
        12: (236, 13, 176),
        13: (12, 48, 255),
        14: (204, 182, 142),
        15: (42, 204, 164),
        16: (119, 159, 176),
        17: (220, 216, 20),
        18: (103, 255, 255),
        24: (60, 60, 60),
        26: (255, 165, 0),
        28: (165, 42, 42),
    }
)
"""Red, green, blue (0 to 255) that FreeSurfer paints these ids in; of pairs, the left ones."""

_CSF = 24
_FIRST_OUTSIDE = 500
"""FreeSurfer's ids from 500 are extra-cerebral tissues."""


def is_freesurfers(table: LabelTable) -> bool:
    """Whether a table's ids can be none but FreeSurfer's: all of the 17 structures are there."""
    return {id_ for ids in MEAN17.values() for id_ in ids} <= set(table.ids.tolist())


def intracranial_ids(table: LabelTable) -> tuple[int, ...]:
    """Ids whose union is the intracranial volume; empty where the table does not define it.

    It does where it has FreeSurfer's ids of all structures of the brain and a CSF around them:
    a brain without its CSF is not the inside of the skull.
    """
    names = {label.id: label.name.lower() for label in table.labels}
    needed = {id_ for ids in MEAN17.values() for id_ in ids} | {_CSF}
    if not needed <= set(names) or names[_CSF] != "csf":
        return ()
    return tuple(id_ for id_ in names if 0 < id_ < _FIRST_OUTSIDE)
