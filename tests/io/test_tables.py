"""Tables come back as they were written, whatever the cells hold."""

from pathlib import Path

import pytest

from seg_prior.io.tables import read_columns, read_table, table_text, write_lines, write_table

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
    found = read_columns(tmp_path / "t.tsv", ("a", "new", "b"), "n/a")
    assert found.cells == [("x\ty", "2"), ("n/a", "n/a"), ("1", "n/a")]
    assert found.lines == ['"x\ty"\tn/a\t1', "2\tn/a\tn/a"]
    (tmp_path / "t.tsv").write_text("")
    assert read_columns(tmp_path / "t.tsv", ("a", "b"), "n/a") == ([], [(), ()])


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [["", "", ""], ["a", "", "b"], ["", "", "c"], ["d", "e", ""]],
        [[cell, "x", cell] for cell in HOSTILE],
        [["", "\x0b", " "], ["a", "x", "nel\x85in"]],
    ],
)
def test_a_plain_table_is_read_as_any_other(tmp_path: Path, rows: list[list[str]]) -> None:
    columns = ("one", "two", "three")
    write_table(tmp_path / "t.tsv", columns, rows)
    found = read_columns(tmp_path / "t.tsv", columns, "n/a")
    write_table(tmp_path / "u.tsv", [*columns, "more"], [[*row, ""] for row in rows])
    same = read_columns(tmp_path / "u.tsv", columns, "n/a")  # by the module csv
    assert found.lines == same.lines
    assert [list(cells) for cells in found.cells] == [list(cells) for cells in same.cells]
    wanted = [[cell or "n/a" for cell in row] for row in rows]
    assert [list(row) for row in zip(*found.cells, strict=True)] == wanted
    write_lines(tmp_path / "v.tsv", columns, (f"{line}\n" for line in found.lines))
    assert list(read_table(tmp_path / "v.tsv")) == [
        dict(zip(columns, row, strict=True)) for row in wanted
    ]


def test_a_table_of_uneven_rows_is_refused(tmp_path: Path) -> None:
    for text in ("a\tb\n1\n", "a\tb\n1\t2\t3\n4\n"):
        (tmp_path / "t.tsv").write_text(text)
        with pytest.raises(IndexError):
            read_columns(tmp_path / "t.tsv", ("a", "b", "c"), "n/a")
