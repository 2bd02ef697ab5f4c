"""The label table: which ids are one structure, what it is called, and which labels pair up."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from seg_prior.errors import LabelsError

BACKGROUND = 0


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

    id: int
    name: str
    source_ids: tuple[int, ...]
    intensity_class: str
    partner_id: int
    is_structure: bool


def _is_kind_of(label: Label, background: Label) -> bool:
    """Whether the class of a label is background's or named after it."""
    return f"{label.intensity_class}-".startswith(f"{background.intensity_class}-")


class LabelTable(BaseModel):
    """The labels of a model in index order; index 0 is background."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: tuple[Label, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def __eq__(self, other: object) -> bool:
        # Pydantic would compare what was cached as well, and arrays have no one truth.
        return isinstance(other, LabelTable) and self.labels == other.labels

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
        return np.array([_is_kind_of(label, self.labels[0]) for label in self.labels])

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
                f"{source}: found label ids {_few(unknown)} that are not in the label "
                "table. Add them to the table given with --label-table."
            )
        indices = np.array([index_of[value] for value in found.tolist()], dtype=np.uint8)
        return np.asarray(indices[np.searchsorted(found, ids)])


def label_table_from_ids(ids: Iterable[int]) -> LabelTable:
    """A table that names nothing: every id its own label, class and partner."""
    values = [value for value in sorted(set(ids)) if value != BACKGROUND]
    rows = [_Row(BACKGROUND, "Background", BACKGROUND, "background", None)]
    rows += [_Row(value, f"label-{value}", value, f"class-{value}", None) for value in values]
    return _from_rows(rows, "<label maps>")


def read_label_table(path: Path, occurring: Collection[int] | None = None) -> LabelTable:
    """Read a tab-separated table with columns id, name, scored_as, intensity_class[, partner].

    Ids of one `scored_as` become one structure, named after the row whose id it is. Ids scored as 0
    become background where they have its intensity class, and one nuisance label a class where
    not; a class `background-KIND` is a kind of background. Without a column `partner`, a name with
    left or right (or lh, rh) in it pairs with its mirror image.

    A BIDS dseg.tsv (index, name) and a FreeSurfer color table (id name R G B A) will do, too. There
    each id is a structure of its own, and both sides of one structure share an intensity class.

    Args:
        path: The table.
        occurring: Ids that are needed; of the rows of a dseg.tsv or a color table, which may name
            a thousand, the others are left out.

    Raises:
        LabelsError: The file is missing, lacks a column, or repeats or misses an id.
    """
    if not path.is_file():
        raise LabelsError(f"{path}: no such file, need a label table. Check the path.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except ValueError as error:
        raise LabelsError(f"{path}: not text in UTF-8, need a tab-separated table.") from error
    names = _parse_color_table(lines) or _parse_dseg(lines, path)
    if not names:
        return _from_rows(_parse(lines, path), str(path))
    rows = [_Row(BACKGROUND, "Background", BACKGROUND, "background", None)]
    for id_, name in names:
        if id_ != BACKGROUND and (occurring is None or id_ in occurring):
            rows.append(_Row(id_, name, id_, _without_side(name), None))
    return _from_rows(rows, str(path))


def _parse_color_table(lines: Sequence[str]) -> list[tuple[int, str]]:
    """(id, name) of FreeSurfer's `id name R G B A`; empty where one line is something else."""
    content = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    found = [re.fullmatch(r"\s*(\d+)\s+(\S+)(?:\s+\d+){4}\s*", line) for line in content]
    return [(int(match[1]), match[2]) for match in found if match] if all(found) else []


def _parse_dseg(lines: Sequence[str], path: Path) -> list[tuple[int, str]]:
    """(index, name) of a BIDS dseg.tsv; empty where there are no such columns."""
    reader = csv.DictReader(lines, delimiter="\t", restval="")
    if not {"index", "name"} <= set(reader.fieldnames or ()):
        return []
    found = []
    for row in reader:
        if not row["index"].isdecimal() or not row["name"]:
            raise LabelsError(
                f"{path}: line {reader.line_num}: found index '{row['index']}' and name "
                f"'{row['name']}', need a whole number >= 0 and a name; mend the row."
            )
        found.append((int(row["index"]), row["name"]))
    return found


def _parse(lines: Sequence[str], path: Path) -> list[_Row]:
    reader = csv.DictReader(lines, delimiter="\t", restval="")
    needed = {"id", "name", "scored_as", "intensity_class"}
    missing = needed - set(reader.fieldnames or ())
    if missing:
        raise LabelsError(
            f"{path}: found columns {reader.fieldnames}, need also "
            f"{', '.join(sorted(missing))}, separated by tabs."
        )
    rows = []
    for row in reader:
        try:
            numbers = [int(row[key]) for key in ("id", "scored_as")]
            partner = int(row["partner"]) if row.get("partner") else None
        except ValueError as error:
            raise LabelsError(f"{path}: line {reader.line_num}: {error}; mend the row.") from error
        if min(numbers) < 0 or not row["name"] or not row["intensity_class"]:
            raise LabelsError(
                f"{path}: line {reader.line_num}: found a negative id, or no name or no class; "
                "mend the row."
            )
        rows.append(_Row(numbers[0], row["name"], numbers[1], row["intensity_class"], partner))
    return rows


class _Row(NamedTuple):
    id: int
    name: str
    scored_as: int
    intensity_class: str
    partner: int | None


def _from_rows(rows: Sequence[_Row], source: str) -> LabelTable:
    by_id = {row.id: row for row in rows}
    if len(by_id) != len(rows):
        raise LabelsError(f"{source}: an id stands in two rows, need each id once.")
    unnamed = sorted(({row.scored_as for row in rows} | {BACKGROUND}) - set(by_id))
    if unnamed:
        raise LabelsError(f"{source}: found no row for ids {_few(unnamed)}, need one for each.")
    members: dict[int, list[int]] = {BACKGROUND: []}
    nuisance = {by_id[BACKGROUND].intensity_class: BACKGROUND}
    for row in sorted(rows, key=lambda row: row.id):
        target = row.scored_as or nuisance.setdefault(row.intensity_class, row.id)
        members.setdefault(target, []).append(row.id)
    if len(members) > 255:
        raise LabelsError(f"{source}: found {len(members)} labels, at most 255 fit a model.")
    ids_by_name = {by_id[target].name: target for target in members}
    labels = []
    for target in sorted(members):
        row = by_id[target]
        mirror_id = ids_by_name.get(_mirrored(row.name), target)
        is_structure = row.scored_as != BACKGROUND
        labels.append(
            Label(
                id=target,
                name=row.name,
                source_ids=tuple(members[target]),
                intensity_class=row.intensity_class,
                # A nuisance label gathers both sides.
                partner_id=(mirror_id if row.partner is None else row.partner)
                if is_structure
                else target,
                is_structure=is_structure,
            )
        )
    partner_of = {label.id: label.partner_id for label in labels}
    for label in labels:
        if label.is_structure and _is_kind_of(label, labels[0]):
            raise LabelsError(
                f"{source}: {label.name} is scored, but its intensity class "
                f"'{label.intensity_class}' is background's; give it a class of its own."
            )
        if partner_of.get(label.partner_id) != label.id:
            raise LabelsError(
                f"{source}: {label.name} names {label.partner_id} as its partner, which does not "
                "name it back."
            )
    return LabelTable(labels=tuple(labels))


_SIDES = {"Left": "Right", "left": "right", "lh": "rh"}
_OTHER_SIDE = _SIDES | {right: left for left, right in _SIDES.items()}
_SIDE = re.compile(
    r"^(?:Left|Right|left|right)|(?<![A-Za-z])(?:Left|Right|left|right|lh|rh)(?![A-Za-z])"
)


def _mirrored(name: str) -> str:
    return _SIDE.sub(lambda match: _OTHER_SIDE[match[0]], name, count=1)


def _without_side(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", _SIDE.sub("", name, count=1).lower()).strip("_") or name


def _few(values: Sequence[int]) -> str:
    shown = ", ".join(str(value) for value in values[:8])
    return shown + (", ..." if len(values) > 8 else "")
