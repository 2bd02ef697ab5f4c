"""Label tables: reading, remapping, partners, ties, and every way a table can be wrong."""

from pathlib import Path

import numpy as np
import pytest

from seg_prior.core.labels import LabelTable
from seg_prior.errors import LabelsError
from seg_prior.io.label_tables import label_table_from_ids, read_label_table

BRAIN_TABLE = Path(__file__).parents[2] / "configs" / "brain_labels.tsv"
HEAD = "id\tname\tscored_as\tintensity_class\tpartner\n"
SMALL = (
    HEAD
    + "0\tBackground\t0\tbackground\t0\n"
    + "41\tRight-White\t41\twm\t2\n"
    + "2\tLeft-White\t2\twm\t41\n"
    + "16\tStem\t16\tstem\t16\n"
    + "251\tCallosum\t2\twm\t251\n"
    + "24\tCSF\t0\tcsf\t\n"
    + "502\tSkin\t0\tbackground\t\n"
)


def write(folder: Path, text: str) -> Path:
    path = folder / "labels.tsv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def table(tmp_path: Path) -> LabelTable:
    return read_label_table(write(tmp_path, SMALL))


def test_labels_stand_in_order_of_id_background_first(table: LabelTable) -> None:
    assert table.ids.tolist() == [0, 2, 16, 24, 41]
    assert table.names == ["Background", "Left-White", "Stem", "CSF", "Right-White"]
    assert len(table) == 5


def test_partners_swap_sides_and_are_their_own_inverse(table: LabelTable) -> None:
    assert table.partner.tolist() == [0, 4, 2, 3, 1]
    assert table.partner[table.partner].tolist() == list(range(5))
    assert table.has_sides


def test_what_is_scored_as_0_is_background_by_class_or_a_nuisance_label(table: LabelTable) -> None:
    assert table.labels[0].source_ids == (0, 502)
    assert table.is_structure.tolist() == [False, True, True, False, True]


def test_kinds_of_background_are_told_apart_but_written_as_one(tmp_path: Path) -> None:
    rows = "515\tBone\t0\tbackground-bone\t\n506\tFat\t0\tbackgrounds\t\n"
    table = read_label_table(write(tmp_path, SMALL + rows))
    assert table.ids.tolist() == [0, 2, 16, 24, 41, 506, 515]
    assert table.is_outside.tolist() == [True, False, False, False, False, False, True]
    assert table.written.ids.tolist() == [0, 2, 16, 24, 41, 506]
    assert table.written.labels[0].source_ids == (0, 502, 515)
    assert table.groups == ((0, 6), (1,), (2,), (3,), (4,), (5,))
    ids = np.array([0, 2, 506, 515], dtype=np.int32)
    assert table.written.remap(ids, "map").tolist() == [0, 1, 5, 0]


def test_a_structure_of_a_class_of_background_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="Bone is scored, but its intensity class 'background-bo"):
        read_label_table(write(tmp_path, SMALL + "515\tBone\t515\tbackground-bone\t\n"))


def test_tables_are_equal_by_their_labels(table: LabelTable) -> None:
    again = LabelTable.model_validate_json(table.model_dump_json())
    assert (table.is_outside == again.is_outside).all()
    assert table == again
    assert hash(table) == hash(again)
    assert table != LabelTable(labels=table.labels[:1])


def test_without_kinds_of_background_labels_are_written_as_they_are(table: LabelTable) -> None:
    assert table.written == table
    assert table.groups == ((0,), (1,), (2,), (3,), (4,))


def test_remap_gathers_source_ids(table: LabelTable) -> None:
    ids = np.array([[[0, 2, 251], [41, 502, 24]]])
    indices = table.remap(ids, "map")
    assert indices.tolist() == [[[0, 1, 1], [4, 0, 3]]]
    assert indices.dtype == np.uint8


def test_remap_of_ids_in_the_hundred_millions() -> None:
    table = label_table_from_ids([614454277, 5])
    assert table.remap(np.array([614454277, 0, 5], dtype=np.int32), "map").tolist() == [2, 0, 1]


def test_remap_after_permuting_ids_is_the_same_indices(table: LabelTable, tmp_path: Path) -> None:
    # The file's order of rows says nothing.
    head, *rows = SMALL.splitlines()
    again = read_label_table(write(tmp_path, "\n".join([head, *reversed(rows)])))
    ids = np.array([0, 2, 16, 24, 41, 251, 502])
    assert again.remap(ids, "map").tolist() == table.remap(ids, "map").tolist()


def test_a_label_is_found_by_id_and_by_name_in_any_case(table: LabelTable) -> None:
    assert table.index_of(16) == table.index_of("Stem") == table.index_of("STEM") == 2
    assert table.index_of("left-white") == 1
    for missing in ("Spleen", 7, "16"):
        with pytest.raises(LabelsError, match=f"label: found {missing!r}, need one of "):
            table.index_of(missing)


def test_names_that_differ_in_case_alone_are_told_apart(table: LabelTable) -> None:
    twin = table.labels[2].model_copy(
        update={"id": 99, "name": "stem", "source_ids": (99,), "partner_id": 99}
    )
    both = LabelTable(labels=(*table.labels, twin))
    assert both.index_of("Stem") == 2
    assert both.index_of("stem") == len(table)
    with pytest.raises(LabelsError, match="label: found 'STEM'"):
        both.index_of("STEM")


@pytest.mark.parametrize("unknown", [7, 9999])
def test_remap_names_unknown_ids_and_the_file(table: LabelTable, unknown: int) -> None:
    with pytest.raises(LabelsError, match=rf"^x\.nii: found label ids {unknown} that are not in"):
        table.remap(np.array([0, 2, unknown]), "x.nii")


def test_remap_names_the_first_unknown_ids_only(table: LabelTable) -> None:
    with pytest.raises(LabelsError, match=r"ids 100, 101, 102, 103, 104, 105, 106, 107, \.\.\. "):
        table.remap(np.arange(100, 130), "x.nii")


def test_sides_are_read_from_names_without_a_partner_column(tmp_path: Path) -> None:
    rows = ["id\tname\tscored_as\tintensity_class", "0\tBackground\t0\tbackground"]
    rows += ["3\tleft eye\t3\teye", "4\tright eye\t4\teye", "5\tLeft-only\t5\tx"]
    table = read_label_table(write(tmp_path, "\n".join(rows)))
    assert table.partner.tolist() == [0, 2, 1, 3]


def test_a_table_from_ids_pairs_nothing() -> None:
    table = label_table_from_ids([3, 1, 3, 0])
    assert table.ids.tolist() == [0, 1, 3]
    assert table.names == ["Background", "label-1", "label-3"]
    assert not table.has_sides
    assert table.classes()[1] == [0, 1, 2]


def test_classes_are_shared_by_partners(table: LabelTable) -> None:
    assert table.classes() == (["background", "wm", "stem", "csf"], [0, 1, 2, 3, 1])


def test_ties_join_classes(table: LabelTable) -> None:
    names, of_label = table.classes({"white": ["wm", "stem"]})
    assert names == ["background", "white", "csf"]
    assert of_label == [0, 1, 1, 2, 1]


def test_a_tie_of_an_unknown_class_is_refused(table: LabelTable) -> None:
    with pytest.raises(LabelsError, match=r"ties: white: found class 'bone', need one of back"):
        table.classes({"white": ["wm", "bone"]})


def test_a_class_in_two_ties_is_refused(table: LabelTable) -> None:
    with pytest.raises(LabelsError, match="class 'wm' stands in two groups"):
        table.classes({"one": ["wm"], "two": ["stem", "wm"]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"need also id, intensity_class, name, scored_as"),
        (SMALL.replace("scored_as", "score"), r"need also scored_as, separated by tabs"),
        (SMALL.replace("\t", ","), r"need also id, "),
        (SMALL + "2\tAgain\t2\twm\t41\n", r"an id stands in two rows"),
        (SMALL + "3\tCortex\t99\tcortex\t3\n", r"found no row for ids 99"),
        (SMALL.replace("0\tBackground\t0\tbackground\t0\n", ""), r"found no row for ids 0"),
        (SMALL.replace("41\twm\t2", "41\twm\t16"), r"Left-White names 41 as its partner, which"),
        (SMALL.replace("stem\t16", "stem\t77"), r"Stem names 77 as its partner, which"),
        (SMALL + "three\tCortex\t3\tcortex\t3\n", r"line 9: id: found 'three', need a whole"),
        (SMALL + "3\n", r"line 9: .*mend the row"),
        (SMALL + "3\tCortex\t3\n", r"line 9: found no name or no intensity class"),
        (
            SMALL + "-3\tCortex\t-3\tcortex\t-3\n",
            r"line 9: id: found '-3', need a whole number from 0",
        ),
    ],
)
def test_a_wrong_table_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(LabelsError, match=message) as error:
        read_label_table(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_missing_table_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nope.tsv", tmp_path):
        with pytest.raises(LabelsError, match="no such file, need a label table"):
            read_label_table(path)


@pytest.mark.parametrize("bad", ["=HYPERLINK(1)", "+1", "-rf", "@SUM(1)"])
def test_names_that_are_formulas_are_refused(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text(f"{SMALL}3\t{bad}\t3\tcortex\t3\n", "utf-8")
    with pytest.raises(LabelsError, match=r"label 3: name: .* no spreadsheet takes"):
        read_label_table(path)


@pytest.mark.parametrize("bad", ["Cor\\ttex", "Cor\\x00tex", "Cor\\x1btex", "Cor\\u2028tex"])
@pytest.mark.parametrize("column", ["name", "class"])
def test_control_characters_are_refused_in_one_line(tmp_path: Path, bad: str, column: str) -> None:
    raw = bad.encode().decode("unicode_escape")
    row = {"name": f'3\t"{raw}"\t3\tcortex', "class": f'3\tCortex\t3\t"{raw}"'}[column]
    path = tmp_path / "labels.tsv"
    path.write_text(SMALL + row + "\t3\n", "utf-8")
    with pytest.raises(LabelsError) as error:
        read_label_table(path)
    message = str(error.value)
    assert message.startswith(f"{path}: label 3: ")
    assert f"found '{bad}', need a name without control characters such as" in message
    assert message.isprintable()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("99999999999\tA\t0\twm\t0\n", "line 9: id: found '99999999999', need a whole number"),
        ("3\tStem\t3\twm\t3\n", "two labels have the name 'Stem', need one for each"),
        ("3\t" + "n" * 201 + "\t3\twm\t3\n", "label 3: name: found 'nnn.* at most 200"),
        ("3\t" + "n" * 200_000 + "\t3\twm\t3\n", "no tab-separated table"),
        ("\u0663\tA\t3\twm\t3\n", "line 9: id: found '.u0663', need a whole number"),
    ],
)
def test_what_no_label_can_be_is_refused(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text(SMALL + row, "utf-8")
    with pytest.raises(LabelsError, match=message):
        read_label_table(path)


def test_a_table_of_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text("x" * 10_000_001)
    with pytest.raises(LabelsError, match="found 10 MB, need a table of labels of at most 10 MB"):
        read_label_table(path)


def test_a_table_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_bytes(b"\x89PNG\r\n\xff")
    with pytest.raises(LabelsError, match=r"labels\.tsv: not text in UTF-8"):
        read_label_table(path)


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text(SMALL, encoding="utf-8-sig")
    assert len(read_label_table(path)) == 5


def test_more_labels_than_a_byte_holds_are_refused() -> None:
    assert len(label_table_from_ids(range(255))) == 255
    with pytest.raises(LabelsError, match="found 256 labels, at most 255 fit a model"):
        label_table_from_ids(range(256))


def test_the_brain_table_pairs_every_side_and_counts_the_callosum_as_white_matter() -> None:
    table = read_label_table(BRAIN_TABLE)
    assert table.ids[table.remap(np.array([251, 255, 2, 41]), "map")].tolist() == [2, 2, 2, 41]
    for label, partner in zip(table.labels, table.partner, strict=True):
        is_sided = label.name.startswith(("Left", "Right"))
        assert (label.partner_id != label.id) == is_sided
        assert table.labels[partner].intensity_class == label.intensity_class
