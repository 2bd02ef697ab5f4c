"""What can have an intensity of its own in a synthetic scan: every id of the label maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.labels import LabelTable
from seg_prior.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Sources:
    """The ids of label maps, finer than the labels that are made of them.

    Attributes:
        ids: (S,) sorted; the first is 0.
        label: (S,) uint8, index of the label of results.
        partner: (S,) int16, index of the source on the other side, or of the source itself.
        typical: (S,) relative intensity of the label, 0 to 1.
        tie: (S,) index of the tie, whose labels share Gaussians.
        is_structure: (S,) bool, anatomy that one asks for.
        num_labels: L.
    """

    ids: NDArray[np.int64]
    label: NDArray[np.uint8]
    partner: NDArray[np.int16]
    typical: NDArray[np.float32]
    tie: NDArray[np.int64]
    is_structure: NDArray[np.bool_]
    num_labels: int

    @classmethod
    def of(
        cls,
        found: Iterable[int],
        table: LabelTable,
        typical: NDArray[np.float32],
        ties: Mapping[str, Sequence[str]] | None = None,
    ) -> Sources:
        """The sources that occur or are named, and those on their other side.

        Args:
            found: Ids; 0 is always one of them.
            table: Of the model.
            typical: (L,) of the labels of results, `table.written`.
            ties: Name -> the intensity classes it joins.

        Raises:
            ConfigError: An id is in no label.
        """
        written = table.written
        of_label = table.classes({name: list(members) for name, members in (ties or {}).items()})[1]
        tie_of_label = np.array([of_label[group[0]] for group in table.groups])
        label_of = {i: n for n, label in enumerate(written.labels) for i in label.source_ids}
        wanted = {0, *found}
        unknown = wanted - set(label_of)
        if unknown:
            raise ConfigError(
                f"synthesis: found id {min(unknown)}, need ids of the label table. Name others."
            )
        while new := {_partner_id(i, label_of[i], written) for i in wanted} - wanted:
            wanted |= new
        ids = np.array(sorted(wanted))
        index_of = {int(i): n for n, i in enumerate(ids)}
        label = np.array([label_of[int(i)] for i in ids], dtype=np.uint8)
        partner = [index_of[_partner_id(int(i), label_of[int(i)], written)] for i in ids]
        return cls(
            ids,
            label,
            np.array(partner, dtype=np.int16),
            typical[label],
            tie_of_label[label],
            written.is_structure[label],
            len(written),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_outside(self) -> NDArray[np.bool_]:
        """(S,) background and its kinds, which are label 0 of results."""
        return np.asarray(self.label == 0)

    def index(self, ids: NDArray[np.integer[Any]]) -> NDArray[np.int16]:
        """Ids of a map, all of which are sources -> indices of sources."""
        return np.asarray(np.searchsorted(self.ids, ids).astype(np.int16))

    def are(self, ids: Iterable[int]) -> NDArray[np.bool_]:
        """(S,) which sources have one of these ids."""
        return np.isin(self.ids, list(ids))


def _partner_id(source_id: int, label: int, written: LabelTable) -> int:
    """The id in the same place among the ids of the label on the other side, or its first."""
    own = written.labels[label]
    if own.partner_id == own.id:
        return source_id
    other = written.labels[int(written.partner[label])].source_ids
    place = own.source_ids.index(source_id)
    return other[place] if place < len(other) else other[0]
