"""Keys of a JSON file are what they are in the whole of it."""

from pathlib import Path

import pytest

from seg_prior.io.sidecar import read_json, read_ours

TEXTS = (
    '{"a": 1, "b": [-0.0, NaN, 1e400], "a": {"k": 1, "k": 2}, "x": 123456789012345678901234567890}',
    r'{"x": "\ud800", "a": "é", "b": true}',  # half a character of UTF-16
    '{"GeneratedBy": [{"Name": "seg-prior"}], "b": null}',
    '{"x": 1}',
    "[1]",
    '{"a": 1',
    '{"a": 1} b',
    '{"a":' + "[" * 5000 + "]" * 5000 + "}",
)


@pytest.mark.parametrize("text", TEXTS)
def test_some_keys_are_what_they_are_among_all(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text, encoding="utf-8")
    for read in (read_json, read_ours):
        whole = read(tmp_path / "t.json")
        some = read(tmp_path / "t.json", ("a", "b", "c"))
        assert repr([some.get(key) for key in "abc"]) == repr([whole.get(key) for key in "abc"])


def test_what_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert read_json(tmp_path / "none.json") == read_ours(tmp_path, ("a",)) == {}
