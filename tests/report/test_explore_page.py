"""The page of a prior, as text and in a headless Chromium."""

import base64
import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from seg_prior.report import explore_page
from seg_prior.report.explore_page import Nearest, ShownWalk, write_explore_page
from tests.report.browser import Browser, start_browser
from tests.report.toy import NASTY, toy_grid, toy_table

VOLUMES_MM3 = np.array([[9e4, 1e3 * n, 500.0] for n in (1, 2, 4)])


def toy_walks() -> list[ShownWalk]:
    """A left box that grows, and between two maps one that moves."""
    grown, moved = (np.zeros((*toy_grid().shape, 3), dtype=np.uint8) for _ in range(2))
    for frame in range(3):
        grown[28 : 34 + 5 * frame, 10:26, 12:32, frame] = 1
        grown[8:14, 10:26, 12:32, frame] = 2
        moved[8:20, 5 + 4 * frame : 15 + 4 * frame, 12:32, frame] = 2
    near = tuple(Nearest(f"map-{n}<i>", n / 2) for n in range(3))
    return [
        ShownWalk("direction-1", "direction 1", (-1.0, 0.0, 1.0), "sd", grown, VOLUMES_MM3, near),
        ShownWalk("between", NASTY, (0.0, 0.5, 1.0), "", moved, VOLUMES_MM3[::-1], near),
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explore") / "a prior's page #1.html"
    write_explore_page(path, NASTY, toy_walks(), toy_table(), toy_grid())
    return path


def data_of(page: Path) -> dict[str, object]:
    found = re.search(r'<script id="walk-data"[^>]*>(.*?)</script>', page.read_text(), re.S)
    assert found is not None
    return dict(json.loads(found[1]))


def test_the_page_holds_the_series_where_it_lies(page: Path) -> None:
    [first, _] = data_of(page)["walks"]
    packed = gzip.decompress(base64.b64decode(first["series"]))
    image = nib.Nifti1Image.from_stream(io.BytesIO(packed))
    series, grid = np.asanyarray(image.dataobj), toy_grid()
    whole = toy_walks()[0].label_maps
    assert series.sum() == whole.sum()
    start = np.rint(np.linalg.inv(grid.affine) @ image.affine[:, 3])[:3].astype(int)
    i, j, k = start + series.shape[:3]
    np.testing.assert_array_equal(series, whole[start[0] : i, start[1] : j, start[2] : k])
    np.testing.assert_allclose(image.affine[:3, :3], grid.affine[:3, :3], rtol=1e-5)
    assert first["first"] == 1


def test_too_much_is_thinned_out(page: Path, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    before = data_of(page)["walks"]
    monkeypatch.setattr(explore_page, "MAX_BYTES", sum(len(w["series"]) for w in before) - 1)
    write_explore_page(tmp_path / "a.html", "m", toy_walks(), toy_table(), toy_grid())
    after = data_of(tmp_path / "a.html")["walks"]
    assert len(after[0]["series"]) < len(before[0]["series"])


def test_names_are_text(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert "Left-Box&lt;i&gt;" in html
    assert NASTY not in html
    assert "Copyright (c) 2021, Niivue" in html


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with start_browser(tmp_path_factory.mktemp("browser") / "profile") as started:
        yield started


@pytest.fixture
def viewer(browser: Browser, page: Path) -> Browser:
    """The page, its viewer ready."""
    browser.open_viewer(page)
    return browser


def move(viewer: Browser, walk: int, frame: int) -> None:
    viewer.set_value(f"#walk-{walk}", frame)


def text(viewer: Browser, selector: str) -> str:
    return str(viewer.evaluate(f"document.querySelector('{selector}').textContent"))


@pytest.mark.slow
def test_the_page_asks_for_nothing_and_nothing_complains(viewer: Browser, page: Path) -> None:
    assert viewer.requests == [page.as_uri()]
    assert viewer.complaints == []


@pytest.mark.slow
def test_a_slider_changes_canvas_and_numbers(viewer: Browser) -> None:
    before = viewer.pixels()
    assert (np.ptp(before, axis=2) > 0.1).mean() > 0.01  # something is drawn, in colour
    assert (text(viewer, "#volume-1"), text(viewer, "#change-1")) == ("2,000", "0.0 %")
    assert text(viewer, ".walk output") == "0 sd"
    move(viewer, 0, 2)
    grown = viewer.pixels()
    assert np.abs(grown - before).mean() > 0.002
    assert (text(viewer, "#volume-1"), text(viewer, "#change-1")) == ("4,000", "+100.0 %")
    assert (text(viewer, "#volume-2"), text(viewer, "#change-2")) == ("500", "0.0 %")
    assert text(viewer, ".walk output") == "1 sd"
    assert "map-2<i>, 1.00 standard deviations" in text(viewer, "#nearest")
    move(viewer, 1, 1)
    viewer.wait_for("document.querySelector('#volume-1').textContent === '2,000'")
    assert viewer.evaluate("document.querySelector('#walk-0').value") == "1"
    assert np.abs(viewer.pixels() - grown).mean() > 0.002
    assert viewer.complaints == []


@pytest.mark.slow
def test_a_structure_can_be_hidden_and_the_view_chosen(viewer: Browser) -> None:
    whole = viewer.pixels()
    viewer.evaluate("document.querySelector('input.shown[data-label=\"1\"]').click()")
    without = viewer.pixels()
    assert (np.ptp(without, axis=2) > 0.1).sum() < 0.95 * (np.ptp(whole, axis=2) > 0.1).sum()
    viewer.evaluate("document.querySelector('#toggle').click()")
    nothing = viewer.pixels()
    viewer.evaluate("document.querySelector('#toggle').click()")
    assert (np.ptp(nothing, axis=2) > 0.1).sum() < (np.ptp(without, axis=2) > 0.1).sum()
    np.testing.assert_allclose(viewer.pixels(), whole, atol=0.1)
    viewer.set_value("#layout", 4, "change")
    assert np.abs(viewer.pixels() - whole).mean() > 0.01
    cut = viewer.pixels()
    viewer.set_value("#cut", 0.9)
    assert np.abs(viewer.pixels() - cut).mean() > 0.001
    assert viewer.complaints == []
