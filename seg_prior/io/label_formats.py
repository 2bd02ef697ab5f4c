"""Label tables to files, in the forms of other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from seg_prior.config.labels import LabelFormat
from seg_prior.core.label_colours import label_colours
from seg_prior.core.labels import BACKGROUND, LabelTable
from seg_prior.files import write_text
from seg_prior.io.tables import table_text, write_table


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
    write_text(out, "\n".join(lines) + "\n")


def write_source_table(path: Path, table: LabelTable) -> None:
    """Write a label table as `read_label_table` reads it, a row for each id of label maps."""
    rows: list[Sequence[object]] = []
    for label in table.labels:
        scored_as = label.id if label.is_structure else BACKGROUND
        for id_ in label.source_ids:
            name = label.name if id_ == label.id else f"{label.name} ({id_})"
            rows.append((id_, name, scored_as, label.intensity_class, label.partner_id))
    write_table(path, ("id", "name", "scored_as", "intensity_class", "partner"), rows)


def describe_label_table(table: LabelTable, form: LabelFormat) -> list[str]:
    """The lines of a label table as BIDS, FreeSurfer, ITK-SNAP, 3D Slicer or FSLeyes reads it."""
    colours = (label_colours(table) * 255).round().astype(int).tolist()
    rows = [
        _ColouredRow(label.id, label.name if form == "bids" else _one_word(label.name), *colour)
        for label, colour in zip(table.labels, colours, strict=True)
    ]
    return list(_WRITERS[form](rows))


def _one_word(name: str) -> str:
    """Tables whose columns end at a space know no other names."""
    return "_".join(name.split())


def _bids(rows: list[_ColouredRow]) -> Iterable[str]:
    cells = [(row.id, row.name, f"#{row.red:02x}{row.green:02x}{row.blue:02x}") for row in rows]
    return table_text(("index", "name", "color"), cells).rstrip("\n").split("\n")


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
