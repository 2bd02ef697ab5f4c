"""The picture of the layers is that of the code."""

from pathlib import Path
from xml.etree import ElementTree

import draw_layers

ROOT = Path(__file__).parents[2]


def test_the_picture_in_the_docs_is_current() -> None:
    drawn = (ROOT / "docs" / "layers.svg").read_text("utf-8")
    assert drawn == draw_layers.draw(), "run python pipelines/draw_layers.py docs/layers.svg"


def test_every_package_stands_in_the_picture_inside_its_frame() -> None:
    root = ElementTree.fromstring(draw_layers.draw())
    width, height = (int(side) for side in root.attrib["viewBox"].split()[2:])
    names = [text.text for text in root.findall("{*}text") if text.attrib["class"] == "name"]
    assert names == [name for layer in draw_layers.read_layers() for name in layer]
    _, *boxes = root.findall("{*}rect")
    assert len(boxes) == len(names)
    for box in boxes:
        assert 0 < int(box.attrib["x"]) < width - int(box.attrib["width"])
        assert 0 < int(box.attrib["y"]) < height - int(box.attrib["height"])


def test_imports_that_follow_from_others_are_left_out() -> None:
    imports = {"api": {"io", "core", "files"}, "io": {"core"}, "core": {"errors"}}
    imports |= {"files": set(), "errors": set()}
    needed = {"api": {"io", "files"}, "io": {"core"}, "core": {"errors"}}
    assert draw_layers.needed(imports) == needed | {"files": set(), "errors": set()}


def test_imports_are_read_from_the_code() -> None:
    imports = draw_layers.read_imports(["config", "core", "io", "errors"])
    assert {"core", "errors"} <= imports["io"]
    assert "io" not in imports["core"]
    assert imports["errors"] == set()
