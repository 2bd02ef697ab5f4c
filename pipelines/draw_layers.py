"""The layers of the package as a picture, drawn from the code.

    python pipelines/draw_layers.py docs/layers.svg

Rows are the layers that pyproject.toml declares and lint-imports holds, the top first. Each box
says what a package is for and which others it imports, without those that these import in turn.
"""

import argparse
import ast
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import grimp

from seg_prior.files import write_text

ROOT = Path(__file__).resolve().parents[1]
NAME = "seg_prior"
NARROW, WIDE, BOX_HEIGHT, GAP = 214, 442, 82, 14
PX_PER_CHARACTER, MAX_LINES = 6.3, 2
STYLE = (
    "text{font-family:sans-serif;fill:#1d2733;text-anchor:middle}"
    ".name{font-size:14px;font-weight:bold}.about{font-size:11px}"
    ".imports{font-size:11px;font-style:italic;fill:#4a5a6a}"
    "rect{fill:#eef2f6;stroke:#7b8a99}"
)


class Box(NamedTuple):
    """Where a package stands, in pixels."""

    left: int
    top: int
    width: int

    @property
    def middle(self) -> int:
        """Of its width."""
        return self.left + self.width // 2


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    write_text(out, draw())


def draw() -> str:
    """The picture as SVG."""
    layers = read_layers()
    width = max(map(len, layers)) * (NARROW + GAP) + GAP
    height = len(layers) * (BOX_HEIGHT + GAP) + GAP
    boxes = _boxes(layers, width)
    imports = needed(read_imports(list(boxes)))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        f"<title>The layers of {NAME}: a package imports only what stands below it</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" style="fill:#fff;stroke:none"/>',
        *(line for name, box in boxes.items() for line in _label(name, box, imports[name])),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def read_layers() -> list[list[str]]:
    """Names of packages, layer by layer, the top first."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    (contract,) = (one for one in linter["contracts"] if one["type"] == "layers")
    return [
        [name.strip().removeprefix(f"{NAME}.") for name in layer.split("|")]
        for layer in contract["layers"]
    ]


def read_imports(names: Sequence[str]) -> dict[str, set[str]]:
    """What each package imports of the others."""
    graph = grimp.build_graph(NAME)

    def imports(one: str, other: str) -> bool:
        return graph.direct_import_exists(
            importer=f"{NAME}.{one}", imported=f"{NAME}.{other}", as_packages=True
        )

    return {
        one: {other for other in names if other != one and imports(one, other)} for one in names
    }


def needed(imports: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The imports that do not follow from others: no way round leads where they lead.

    >>> needed({"api": {"io", "core"}, "io": {"core"}, "core": set()})
    {'api': {'io'}, 'io': {'core'}, 'core': set()}
    """

    def reached(names: set[str]) -> set[str]:
        return names.union(*(reached(imports[name]) for name in names))

    return {
        one: {other for other in others if other not in reached(others - {other})}
        for one, others in imports.items()
    }


def _boxes(layers: Sequence[Sequence[str]], width: int) -> dict[str, Box]:
    boxes = {}
    for row, names in enumerate(layers):
        box_width = WIDE if len(names) * (WIDE + GAP) < width else NARROW
        left = (width - len(names) * (box_width + GAP) + GAP) // 2
        for column, name in enumerate(names):
            place = left + column * (box_width + GAP), GAP + row * (BOX_HEIGHT + GAP)
            boxes[name] = Box(*place, box_width)
    return boxes


def _label(name: str, box: Box, imports: set[str]) -> list[str]:
    path = ROOT / NAME / name
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    about = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    lines = textwrap.wrap(
        about.splitlines()[0], int(box.width / PX_PER_CHARACTER), max_lines=MAX_LINES
    )
    size = f'width="{box.width}" height="{BOX_HEIGHT}"'
    return [
        f'<rect x="{box.left}" y="{box.top}" {size} rx="6"/>',
        _text("name", name, box, 22),
        *(_text("about", line, box, 39 + 14 * n) for n, line in enumerate(lines)),
        _text("imports", " ".join(sorted(imports)), box, BOX_HEIGHT - 10),
    ]


def _text(kind: str, text: str, box: Box, down: int) -> str:
    return f'<text class="{kind}" x="{box.middle}" y="{box.top + down}">{escape(text)}</text>'


if __name__ == "__main__":
    main()
