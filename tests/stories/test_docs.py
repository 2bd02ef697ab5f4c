"""The pages under docs/: their links lead somewhere, their pictures stay small."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_pages_are_there(page: Path) -> None:
    text = page.read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    named = re.findall(r"`(\w+\.md)`", text)
    paths = re.findall(r"`((?:configs|docs|pipelines|tests|seg_prior)/[\w./-]*\w)`", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert [name for name in named if not {page.parent / name, ROOT / name} & _files()] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_pictures_are_jpeg_or_drawn_and_3_mb_in_all() -> None:
    pictures = [path for path in (ROOT / "docs").iterdir() if path.suffix in (".jpg", ".png")]
    assert len(pictures) >= 5
    assert sum(path.stat().st_size for path in pictures) < 3_000_000


def test_the_glossary_is_in_order() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    words = [row.replace("`", "").lower() for row in re.findall(r"^\| ([^|]+?) \| ", text, re.M)]
    assert words[0] == "word"
    assert words[1:] == sorted(words[1:])


def _files() -> set[Path]:
    return {*PAGES, *ROOT.glob("*.md")}
