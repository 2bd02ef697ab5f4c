"""Figures in messages, and names that say a side."""

import pytest

from seg_prior.core.figures import told_apart
from seg_prior.core.labels import LabelTable
from seg_prior.core.sides import left_right_pairs, mirrored_name, name_without_side, side_of
from seg_prior.core.volume import gathered
from seg_prior.io.label_tables import label_table_from_ids


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((0.5, 0.1), ["0.5", "0.1"]),
        ((0.494, 0.486), ["0.494", "0.486"]),
        ((4.06, 4.12, 4.12), ["4.06", "4.12", "4.12"]),
        ((1.0, 1.0 + 1e-12), ["1.0", "1.000000000001"]),
    ],
)
def test_figures_that_differ_never_read_alike(values: tuple[float, ...], shown: list[str]) -> None:
    assert told_apart(*values) == shown


@pytest.mark.parametrize(
    ("name", "side", "other", "without"),
    [
        ("Left-Thalamus", "left", "Right-Thalamus", "thalamus"),
        ("ctx-rh-insula", "right", "ctx-lh-insula", "ctx_insula"),
        ("LeftOver", "left", "RightOver", "over"),
        ("Cleft", None, "Cleft", "cleft"),
    ],
)
def test_names_say_their_side(name: str, side: str | None, other: str, without: str) -> None:
    assert (side_of(name), mirrored_name(name), name_without_side(name)) == (side, other, without)


def test_ids_without_names_have_sides_where_they_can_be_none_but_freesurfers() -> None:
    def pairs(*ids: int) -> list[tuple[int, int]]:
        table: LabelTable = label_table_from_ids((0, *ids))
        return [(int(table.ids[a]), int(table.ids[b])) for a, b in left_right_pairs(table)]

    assert pairs(2, 41, 3, 42, 4, 43) == [(2, 41), (3, 42), (4, 43)]
    assert pairs(2, 41, 3, 42, 7) == []


def test_remarks_of_many_files_are_one_line_each() -> None:
    remarks = [("a", "odd"), ("b", "odd"), ("c", "even"), ("d", "odd")]
    assert gathered(remarks) == ["a and 2 more: odd", "c: even"]
