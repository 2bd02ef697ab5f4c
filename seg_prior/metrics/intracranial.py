"""Which labels make up the inside of the skull, where a label table says so."""

from __future__ import annotations

from seg_prior.labels import LabelTable
from seg_prior.metrics.overlap import MEAN17

_CSF = 24
_FIRST_OUTSIDE = 500
"""FreeSurfer's ids from 500 are extra-cerebral tissues."""


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
