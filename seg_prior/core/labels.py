"""The label table: which ids are one structure, what it is called, and which labels pair up."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from seg_prior.config.base import Id
from seg_prior.errors import LabelsError, few

BACKGROUND = 0
MAX_LABELS = 255
"""Indices are bytes."""
_MAX_NAME = 200
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
"""Categories of Unicode that break lines and tables: control characters, half pairs, separators."""


_FORMULA = ("=", "+", "-", "@")


def _printable(name: str) -> str:
    bad = next((char for char in name if unicodedata.category(char) in _UNPRINTABLE), None)
    if bad is not None:
        raise ValueError(f"need a name without control characters such as {bad!a}")
    if name[:1] in _FORMULA:
        raise ValueError(f"need a name that no spreadsheet takes for a formula, as with {name[0]}")
    return name


Name = Annotated[str, Field(min_length=1, max_length=_MAX_NAME), AfterValidator(_printable)]


class Label(BaseModel):
    """One label of a model.

    Attributes:
        id: Value written into label maps; 0 is background.
        name: For people.
        source_ids: Values read as this label.
        intensity_class: Labels of one class share one mixture of Gaussians.
        partner_id: The id on the other side of the body; its own id for midline structures.
        is_structure: Whether it is anatomy one asks for; false for background and for nuisance
            labels such as CSF, which are modelled and written but define neither frame nor crop.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Id
    name: Name
    source_ids: tuple[Id, ...]
    intensity_class: Name
    partner_id: Id
    is_structure: bool


def is_kind_of(label: Label, background: Label) -> bool:
    """Whether the class of a label is background's or named after it."""
    return f"{label.intensity_class}-".startswith(f"{background.intensity_class}-")


class LabelTable(BaseModel):
    """The labels of a model in index order; index 0 is background."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: tuple[Label, ...] = Field(min_length=1, max_length=MAX_LABELS)
    _source: str = PrivateAttr("")

    @model_validator(mode="after")
    def _is_one_to_one(self) -> Self:
        by_id = {label.id: label for label in self.labels}
        for what, values in (
            ("the id", [label.id for label in self.labels]),
            ("the name", [label.name for label in self.labels]),
            ("the source id", [i for label in self.labels for i in label.source_ids]),
        ):
            value, count = Counter(values).most_common(1)[0] if values else (None, 0)
            if count > 1:
                raise ValueError(f"two labels have {what} {value!r}, need one for each")
        for label in self.labels:
            if label.partner_id not in by_id or by_id[label.partner_id].partner_id != label.id:
                raise ValueError(
                    f"{label.name} names {label.partner_id} as its partner, which does not name "
                    "it back"
                )
        return self

    def from_file(self, source: str) -> Self:
        """The same table, which names its file in messages."""
        named = self.model_copy()
        named._source = source
        return named

    def __len__(self) -> int:
        return len(self.labels)

    def __eq__(self, other: object) -> bool:
        # Pydantic would compare what was cached as well, and arrays have no one truth.
        return isinstance(other, LabelTable) and self.labels == other.labels

    def __repr__(self) -> str:
        names = [label.name for label in self.labels]
        return f"LabelTable({len(self)} labels: {few(names)})"

    @cached_property
    def ids(self) -> NDArray[np.int32]:
        """(L,) ids in index order."""
        return np.array([label.id for label in self.labels], dtype=np.int32)

    @cached_property
    def names(self) -> list[str]:
        """L names in index order."""
        return [label.name for label in self.labels]

    @cached_property
    def partner(self) -> NDArray[np.int64]:
        """(L,) index of the label on the other side, or of the label itself."""
        position = {label.id: index for index, label in enumerate(self.labels)}
        return np.array([position[label.partner_id] for label in self.labels])

    @cached_property
    def is_structure(self) -> NDArray[np.bool_]:
        """(L,) whether a label is anatomy one asks for."""
        return np.array([label.is_structure for label in self.labels])

    @cached_property
    def is_outside(self) -> NDArray[np.bool_]:
        """(L,) whether a label is background or a kind of it, such as the bone around a brain.

        Kinds of background have classes named after its own, as `background-bone`. The prior tells
        them apart; what it writes does not.
        """
        return np.array([is_kind_of(label, self.labels[0]) for label in self.labels])

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The indices here that each label of `written` stands for; background's come first."""
        outside = np.flatnonzero(self.is_outside).tolist()
        inside = np.flatnonzero(~self.is_outside).tolist()
        return (tuple(outside), *((index,) for index in inside))

    @cached_property
    def written(self) -> LabelTable:
        """The labels of results: these, but the kinds of background are one background."""
        return LabelTable(
            labels=tuple(
                self.labels[first].model_copy(
                    update={
                        "source_ids": tuple(
                            i for n in (first, *more) for i in self.labels[n].source_ids
                        )
                    }
                )
                for first, *more in self.groups
            )
        )

    @cached_property
    def has_sides(self) -> bool:
        """Whether any label has a partner on the other side."""
        return bool((self.partner != np.arange(len(self))).any())

    def classes(self, ties: dict[str, list[str]] | None = None) -> tuple[list[str], list[int]]:
        """Intensity classes after `ties`, and the class index of every label.

        Args:
            ties: New class name -> the intensity classes it joins, for instance
                {"white": ["wm", "cerebellum_wm"]}; classes named nowhere stay as they are.

        Returns:
            C class names in order of first use, and L class indices.

        Raises:
            LabelsError: A tie names a class the table does not have, or one class twice.
        """
        known = {label.intensity_class for label in self.labels}
        tied: dict[str, str] = {}
        for group, members in (ties or {}).items():
            for member in members:
                if member not in known:
                    raise LabelsError(
                        f"ties: {group}: found class '{member}', need one of "
                        f"{', '.join(sorted(known))}."
                    )
                if member in tied:
                    raise LabelsError(f"ties: class '{member}' stands in two groups; name it once.")
                tied[member] = group
        of_label = [tied.get(label.intensity_class, label.intensity_class) for label in self.labels]
        names = list(dict.fromkeys(of_label))
        return names, [names.index(name) for name in of_label]

    def index_of(self, label: str | int) -> int:
        """Index of a label by its id, or by its name, in which case does not matter.

        Raises:
            LabelsError: The table has no such label.
        """
        known: list[Any] = self.names if isinstance(label, str) else self.ids.tolist()
        if label not in known and isinstance(label, str):
            alike = [name for name in known if name.casefold() == label.casefold()]
            label = alike[0] if len(alike) == 1 else label
        if label not in known:
            raise LabelsError(f"label: found {label!r}, need one of {', '.join(map(str, known))}.")
        return known.index(label)

    def remap(self, ids: NDArray[np.integer[Any]], source: str) -> NDArray[np.uint8]:
        """Label indices of a map of ids.

        Raises:
            LabelsError: The map holds ids the table does not name.
        """
        index_of = {v: index for index, label in enumerate(self.labels) for v in label.source_ids}
        # Over the ids that occur: some atlases number their labels into the hundred millions.
        found = np.unique(ids)
        unknown = [value for value in found.tolist() if value not in index_of]
        if unknown:
            raise LabelsError(
                f"{source}: found label ids {few(unknown)} that are not in the label table"
                f"{' ' if self._source else ''}{self._source}. Add them to the table given with "
                "--label-table, or give a model maps of its own labels."
            )
        indices = np.array([index_of[value] for value in found.tolist()], dtype=np.uint8)
        return np.asarray(indices[np.searchsorted(found, ids)])
