"""A model's labels in the forms of other programs, and back from the two that training takes."""

import re
from pathlib import Path

import numpy as np
import pytest

from seg_prior.checkpoints.header import read_header
from seg_prior.cli.app import main
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.config.labels import LabelFormat
from seg_prior.core.label_colours import label_colours
from seg_prior.core.labels import BACKGROUND
from seg_prior.errors import LabelsError
from seg_prior.io.label_formats import describe_label_table
from seg_prior.io.label_tables import read_label_table

TABLE = read_header(BRAIN_MODEL).label_table.written
COLOURS = (label_colours(TABLE) * 255).round().astype(int).tolist()
ROWS = {
    "bids": r"(?P<id>\d+)\t(?P<name>\S+)\t#(?P<hex>[0-9a-f]{6})",
    "freesurfer": r"(?P<id>\d+) (?P<name>\S+) (?P<rgb>\d+ \d+ \d+) 0",
    "itksnap": r' *(?P<id>\d+) +(?P<rgb>\d+ +\d+ +\d+) +[01] +[01] +[01] +"(?P<name>\S+)"',
    "slicer": r"(?P<id>\d+) (?P<name>\S+) (?P<rgb>\d+ \d+ \d+) (?:255|0)",
    "fsleyes": r"(?P<id>\d+) (?P<unit>[\d.]+ [\d.]+ [\d.]+) (?P<name>\S+)",
}


def colour(groups: dict[str, str]) -> list[int]:
    if "hex" in groups:
        return list(bytes.fromhex(groups["hex"]))
    if "unit" in groups:
        return [round(255 * float(part)) for part in groups["unit"].split()]
    return [int(part) for part in groups["rgb"].split()]


@pytest.mark.parametrize("form", ROWS)
def test_every_label_stands_in_the_table_with_its_colour(form: LabelFormat) -> None:
    lines = [
        line for line in describe_label_table(TABLE, form) if not line.startswith(("#", "index"))
    ]
    found = [re.fullmatch(ROWS[form], line) for line in lines]
    assert all(found), lines
    wanted = list(zip(TABLE.ids.tolist(), TABLE.names, COLOURS, strict=True))
    if form == "fsleyes":
        wanted = wanted[1:]
    groups = [match.groupdict() for match in found if match]
    assert [(int(g["id"]), g["name"], colour(g)) for g in groups] == wanted


@pytest.mark.parametrize("form", ["bids", "freesurfer"])
def test_training_takes_what_was_exported(form: str, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "table"
    assert main(["labels", "--format", form, "--out", str(file)]) == 0
    again = read_label_table(file)
    assert again.names[1:] == TABLE.names[1:]
    assert np.array_equal(again.ids, TABLE.ids)
    assert np.array_equal(again.partner, TABLE.partner)
    by_name = {label.name: label for label in again.labels}
    # Nothing but the names says what looks alike: the two sides of one structure do.
    left, right = by_name["Left-Thalamus"], by_name["Right-Thalamus"]
    assert left.intensity_class == right.intensity_class == "thalamus"
    one_side = {re.sub("^(Left|Right)-", "", name) for name in again.names}
    assert len(again.classes()[0]) == len(one_side)


def test_of_a_long_table_the_ids_that_occur_are_taken(tmp_path: Path) -> None:
    lut = tmp_path / "FreeSurferColorLUT.txt"
    rows = [f"{n}   structure-{n}   {n % 256} 0 0 0" for n in range(1, 1300)]
    lut.write_text(
        "\n".join(["#$Id: ", "", "0   Unknown   0 0 0 0", *rows, "1300 ctx-lh-cuneus 1 2 3 0"])
    )
    table = read_label_table(lut, {BACKGROUND, 7, 1300})
    assert table.ids.tolist() == [0, 7, 1300]
    assert table.labels[2].intensity_class == "ctx_cuneus"
    with pytest.raises(LabelsError, match="found 1301 labels, at most 255"):
        read_label_table(lut)
    with pytest.raises(LabelsError, match="found label ids 8 that are not in the label table"):
        table.remap(np.array([7, 8]), "map")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index\tname\n-3\tx\n", r"line 2: found index '-3' and name 'x', need a whole number"),
        ("index\tname\n3\t\n", r"line 2: found index '3' and name ''"),
        ("index\tname\n3\ta\n3\tb\n", "an id stands in two rows"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "dseg.tsv"
    file.write_text(text)
    with pytest.raises(LabelsError, match=message):
        read_label_table(file)


def test_a_prior_of_a_dseg_table_names_its_structures(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = tmp_path / "dseg.tsv", tmp_path / "atlas.safetensors"
    assert main(["labels", str(tiny_atlas), "--out", str(table)]) == 0
    maps = [str(path) for path in sorted(phantom_folder.glob("*_dseg.nii.gz"))[:2]]
    argv = ["train-prior", *maps, "--out", str(out), "--label-table", str(table)]
    assert main([*argv, "--kind", "atlas", "--spacing-mm", "6", "--quiet"]) == 0
    assert read_header(out).label_table.names[1:] == read_header(tiny_atlas).label_table.names[1:]
    capsys.readouterr()
    assert main(["labels", str(out)]) == 0
    assert capsys.readouterr().out == table.read_text().replace(
        read_header(tiny_atlas).label_table.names[0], "Background"
    )


def test_a_name_is_the_same_in_every_file_of_bids_and_one_word_where_it_must_be(
    tmp_path: Path,
) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text("index\tname\n10\tLeft Thalamus\n")
    table = read_label_table(path)
    assert table.names == ["Background", "Left Thalamus"]
    assert describe_label_table(table, "bids")[2].split("\t")[:2] == ["10", "Left Thalamus"]
    for form in ("freesurfer", "itksnap", "slicer", "fsleyes"):
        assert "Left_Thalamus" in "\n".join(describe_label_table(table, form))
