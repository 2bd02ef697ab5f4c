"""A result as it is written: its own labels, or left and right of a structure as one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.labels import LabelTable
from seg_prior.core.sides import merged_sides
from seg_prior.inference.label_volumes import LabelVolume
from seg_prior.inference.prediction import Prediction


@dataclass(frozen=True, eq=False)
class Written:
    """The labels of a result that go into files.

    Attributes:
        result: The prediction.
        label_table: Of the files.
        groups: Which indices of the result's labels each of these stands for.
    """

    result: Prediction
    label_table: LabelTable
    groups: list[tuple[int, ...]]

    @classmethod
    def of(cls, result: Prediction, merge_sides: bool) -> Self:
        """The result's own labels, or with both sides as one."""
        table = result.predictor.label_table
        if merge_sides:
            return cls(result, *merged_sides(table))
        return cls(result, table, [(index,) for index in range(len(table))])

    @property
    def label_map(self) -> NDArray[np.unsignedinteger]:
        """(I, J, K) ids, of the smallest type that holds them."""
        largest = max(label.id for label in self.label_table.labels)
        ids = np.zeros(len(self.result.predictor.label_table), np.min_scalar_type(largest))
        for label, group in zip(self.label_table.labels, self.groups, strict=True):
            ids[list(group)] = label.id
        return np.asarray(ids[self.result.label_indices])

    def posteriors(self) -> Iterator[NDArray[np.float32]]:
        """(I, J, K) probability of every label but background."""
        return self.result.posteriors(self.groups[1:])

    @property
    def volumes(self) -> list[LabelVolume]:
        """One record for each label but background; a sum has no interval, whose ends do not add.

        The intracranial volume comes last, where the labels define it.
        """
        records, whole = self.result.volumes, self.result.intracranial
        found = [
            _sum([records[index - 1] for index in group], label.id, label.name)
            for label, group in zip(self.label_table.labels[1:], self.groups[1:], strict=True)
        ]
        return [*found, *([] if whole is None else [whole])]


def _total(sizes_mm3: list[float | None]) -> float | None:
    """None where any is not known."""
    known = [size for size in sizes_mm3 if size is not None]
    return sum(known) if len(known) == len(sizes_mm3) else None


def _sum(records: list[LabelVolume], id_: int, name: str) -> LabelVolume:
    if len(records) == 1:
        return records[0]
    return LabelVolume(
        id=id_,
        name=name,
        hard_mm3=sum(record.hard_mm3 for record in records),
        soft_mm3=sum(record.soft_mm3 for record in records),
        calibrated_mm3=_total([record.calibrated_mm3 for record in records]),
        low_mm3=None,
        high_mm3=None,
        touches_edge=any(record.touches_edge for record in records),
    )
