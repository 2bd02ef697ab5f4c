"""Label tables from files: our own form, a BIDS dseg.tsv, a FreeSurfer color table."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError

from seg_prior.config.base import misfit
from seg_prior.core.labels import (
    BACKGROUND,
    MAX_LABELS,
    LabelTable,
    is_kind_of,
)
from seg_prior.core.sides import mirrored_name, name_without_side
from seg_prior.errors import LabelsError, few

_MAX_BYTES = 10_000_000
_MAX_ID = np.iinfo(np.int32).max


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
    lines = _read_lines(path)
    try:
        names = _parse_color_table(lines) or _parse_dseg(lines, path)
        if not names:
            return _from_rows(_parse(lines, path), str(path))
    except csv.Error as error:
        raise LabelsError(f"{path}: no tab-separated table ({error}); mend it.") from error
    rows = [_Row(BACKGROUND, "Background", BACKGROUND, "background", None)]
    for id_, name in names:
        if id_ != BACKGROUND and (occurring is None or id_ in occurring):
            rows.append(_Row(id_, name, id_, name_without_side(name), None))
    return _from_rows(rows, str(path))


def _read_lines(path: Path) -> list[str]:
    """The lines of a table.

    They end where programs for tables end them, not at every separator that Unicode has.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise LabelsError(
            f"{path}: found {path.stat().st_size / 1e6:.0f} MB, need a table of labels of at most "
            f"{_MAX_BYTES / 1e6:.0f} MB."
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except ValueError as error:
        raise LabelsError(f"{path}: not text in UTF-8, need a tab-separated table.") from error
    return re.split("\r\n|\n|\r", text)


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
        index, name = row["index"].strip(), row["name"].strip()
        if not re.fullmatch(r"[0-9]{1,10}", index) or int(index) > _MAX_ID or not name:
            raise LabelsError(
                f"{path}: line {reader.line_num}: found index {index!a} and name {name!a}, need a "
                f"whole number from 0 to {_MAX_ID} and a name; mend the row."
            )
        found.append((int(index), name))
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
        where = f"{path}: line {reader.line_num}"
        if not any(value for value in row.values()):
            continue
        numbers = [_id_in(row, key, where) for key in ("id", "scored_as")]
        partner = _id_in(row, "partner", where) if (row.get("partner") or "").strip() else None
        name, intensity_class = row["name"].strip(), row["intensity_class"].strip()
        if not name or not intensity_class:
            raise LabelsError(f"{where}: found no name or no intensity class; mend the row.")
        rows.append(_Row(numbers[0], name, numbers[1], intensity_class, partner))
    return rows


def _id_in(row: dict[str, str], key: str, where: str) -> int:
    text = row[key].strip()
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > _MAX_ID:
        raise LabelsError(
            f"{where}: {key}: found {text[:20]!a}, need a whole number from 0 to {_MAX_ID}; "
            "mend the row."
        )
    return int(text)


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
        raise LabelsError(f"{source}: found no row for ids {few(unnamed)}, need one for each.")
    members: dict[int, list[int]] = {BACKGROUND: []}
    nuisance = {by_id[BACKGROUND].intensity_class: BACKGROUND}
    for row in sorted(rows, key=lambda row: row.id):
        target = row.scored_as or nuisance.setdefault(row.intensity_class, row.id)
        members.setdefault(target, []).append(row.id)
    if len(members) > MAX_LABELS:
        raise LabelsError(
            f"{source}: found {len(members)} labels, at most {MAX_LABELS} fit a model. Give those "
            "that are not needed apart one scored_as."
        )
    ids_by_name = {by_id[target].name: target for target in members}
    labels = []
    for target in sorted(members):
        row = by_id[target]
        mirror_id = ids_by_name.get(mirrored_name(row.name), target)
        is_structure = row.scored_as != BACKGROUND
        labels.append(
            {
                "id": target,
                "name": row.name,
                "source_ids": tuple(members[target]),
                "intensity_class": row.intensity_class,
                # A nuisance label gathers both sides.
                "partner_id": (mirror_id if row.partner is None else row.partner)
                if is_structure
                else target,
                "is_structure": is_structure,
            }
        )
    table = _valid(labels, source)
    for label in table.labels:
        if label.is_structure and is_kind_of(label, table.labels[0]):
            raise LabelsError(
                f"{source}: {label.name} is scored, but its intensity class "
                f"'{label.intensity_class}' is background's; give it a class of its own."
            )
    return table


def _valid(labels: list[dict[str, object]], source: str) -> LabelTable:
    """The labels, if no two are one and each pair is a pair."""
    try:
        return LabelTable.model_validate({"labels": labels}).from_file(source)
    except ValidationError as error:
        first = error.errors()[0]
        loc = first["loc"]
        text = first["msg"].removeprefix("Value error, ")
        if len(loc) > 1:  # labels, position, key
            label = labels[int(loc[1])]
            text = f"label {label['id']}: {loc[2]}: {misfit(first)}"
        raise LabelsError(f"{source}: {text.rstrip('.')}. Mend the table.") from error
