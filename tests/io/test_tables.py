"""Tables come back as they were written, whatever the cells hold."""

from pathlib import Path

import pytest

from seg_prior.io.tables import read_columns, read_table, table_text, write_table

HOSTILE = ["plain", "a\tb", 'say "x"', "two\nlines", "comma, left", "=1+1", " ", "\u00e9"]


@pytest.mark.parametrize("name", ["t.tsv", "t.csv"])
def test_every_cell_comes_back(tmp_path: Path, name: str) -> None:
    rows = [(cell, n) for n, cell in enumerate(HOSTILE)]
    write_table(tmp_path / name, ("name", "n"), rows)
    assert read_table(tmp_path / name) == [{"name": cell, "n": str(n)} for cell, n in rows]


def test_the_suffix_says_what_stands_between_cells(tmp_path: Path) -> None:
    for name, text in (("t.tsv", "a\tb\n1\t\n"), ("t.csv", "a,b\n1,\n")):
        write_table(tmp_path / name, ("a", "b"), [(1, None)])
        assert (tmp_path / name).read_bytes() == text.encode()
    assert table_text(("a",), []) == "a\n"


def test_bytes_that_are_no_text_are_spelt(tmp_path: Path) -> None:
    write_table(tmp_path / "t.tsv", ("scan",), [("sub-\udcff",)])
    assert read_table(tmp_path / "t.tsv") == [{"scan": r"sub-\udcff"}]


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text('b\ta\n1\t"x\ty"\n\n\t2\n')
    assert read_columns(tmp_path / "t.tsv", ("a", "new", "b"), "n/a") == [
        ["x\ty", "n/a", "1"],
        ["2", "n/a", "n/a"],
    ]
    (tmp_path / "t.tsv").write_text("")
    assert read_columns(tmp_path / "t.tsv", ("a",), "n/a") == []
