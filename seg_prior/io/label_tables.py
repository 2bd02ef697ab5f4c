"""Label tables from files and to files, in the forms of other programs."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from seg_prior.config.labels import LabelFormat
from seg_prior.core.label_colours import label_colours
from seg_prior.core.labels import (
    BACKGROUND,
    Label,
    LabelTable,
    few,
    is_kind_of,
)
from seg_prior.errors import LabelsError
from seg_prior.files import whole_file


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
        raise LabelsError(f"{source}: found no row for ids {few(unnamed)}, need one for each.")
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
        if label.is_structure and is_kind_of(label, labels[0]):
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


class _ColouredRow(NamedTuple):
    """A label with its color, 0 to 255."""

    id: int
    name: str
    red: int
    green: int
    blue: int

    @property
    def rgb(self) -> tuple[int, int, int]:
        return self.red, self.green, self.blue


def write_label_table(table: LabelTable, form: LabelFormat, out: Path) -> None:
    """Write a label table to a file."""
    lines = describe_label_table(table, form)
    with whole_file(out) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def describe_label_table(table: LabelTable, form: LabelFormat) -> list[str]:
    """The lines of a label table as BIDS, FreeSurfer, ITK-SNAP, 3D Slicer or FSLeyes reads it."""
    colours = (label_colours(table) * 255).round().astype(int).tolist()
    rows = [
        _ColouredRow(label.id, "_".join(label.name.split()), *colour)
        for label, colour in zip(table.labels, colours, strict=True)
    ]
    return list(_WRITERS[form](rows))


def _bids(rows: list[_ColouredRow]) -> Iterable[str]:
    yield "index\tname\tcolor"
    for row in rows:
        yield f"{row.id}\t{row.name}\t#{row.red:02x}{row.green:02x}{row.blue:02x}"


def _freesurfer(rows: list[_ColouredRow]) -> Iterable[str]:
    yield "#No. Label Name: R G B A"
    for row in rows:
        yield f"{row.id} {row.name} {row.red} {row.green} {row.blue} 0"  # 0: opaque


def _itksnap(rows: list[_ColouredRow]) -> Iterable[str]:
    yield "# ITK-SnAP Label Description File"
    yield "# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL"
    for row in rows:
        shown = int(row.id > 0)
        color = f"{row.red:4d} {row.green:4d} {row.blue:4d}"
        yield f'{row.id:5d} {color} {shown:8d} {shown:2d} {shown:2d}    "{row.name}"'


def _slicer(rows: list[_ColouredRow]) -> Iterable[str]:
    yield "# Color table file"
    yield f"# {len(rows)} values"
    for row in rows:
        opacity = 255 if row.id > 0 else 0
        yield f"{row.id} {row.name} {row.red} {row.green} {row.blue} {opacity}"


def _fsleyes(rows: list[_ColouredRow]) -> Iterable[str]:
    for row in rows[1:]:  # FSLeyes shows 0 as nothing
        yield f"{row.id} {' '.join(f'{part / 255:.5f}' for part in row.rgb)} {row.name}"


_WRITERS: dict[LabelFormat, Callable[[list[_ColouredRow]], Iterable[str]]] = {
    "bids": _bids,
    "freesurfer": _freesurfer,
    "itksnap": _itksnap,
    "slicer": _slicer,
    "fsleyes": _fsleyes,
}
