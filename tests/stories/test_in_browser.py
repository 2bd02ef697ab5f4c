"""The pages in a headless Chromium: nothing is asked for, nothing complains, the viewer works."""

import re
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_prior.core.grid import apply_affine
from seg_prior.core.labels import LabelTable
from seg_prior.report.cohort_page import PART, CohortScan, write_cohort_pages
from seg_prior.report.scan import Range
from seg_prior.report.scan_page import write_scan_page
from tests.report.browser import READY, Browser, start_browser
from tests.report.toy import toy_report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with start_browser(tmp_path_factory.mktemp("browser") / "profile") as started:
        yield started


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "a scan's report #1.html"
    write_scan_page(path, toy_report())
    return path


@pytest.fixture
def viewer(browser: Browser, page: Path) -> Browser:
    """The page, its viewer ready and in view."""
    browser.open_viewer(page)
    browser.evaluate("document.querySelector('#canvas').scrollIntoView({behavior: 'instant'})")
    return browser


def is_colored(picture: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.ptp(picture, axis=2) > 0.1)


def test_the_page_asks_for_nothing_and_nothing_complains(viewer: Browser, page: Path) -> None:
    assert viewer.requests == [page.as_uri()]
    assert viewer.complaints == []


def test_a_request_would_be_noticed_and_is_refused(viewer: Browser) -> None:
    viewer.evaluate("new Image().src = 'http://127.0.0.1:9/leak.png'; 0")
    viewer.picture("#cursor")
    assert any("Content Security Policy" in complaint for complaint in viewer.complaints)
    assert any("leak" in url for url in viewer.requests)


def test_the_canvas_shows_the_scan_and_its_labels(viewer: Browser) -> None:
    picture = viewer.pixels()
    assert (picture.max(axis=2) > 0.15).mean() > 0.05
    assert is_colored(picture).mean() > 0.01


def test_the_slider_changes_the_canvas(viewer: Browser) -> None:
    def move(name: str, value: float) -> NDArray[np.float64]:
        viewer.set_value(f"#{name}", value)
        return viewer.pixels()

    grey, faint, full = (is_colored(move("label-opacity", v)).mean() for v in (0, 0.3, 1))
    assert grey < faint < full + 1e-3
    assert full > 0.01
    before = viewer.pixels()
    assert np.abs(move("entropy-opacity", 1) - before).max() > 0.3


def test_the_name_under_the_cursor_is_that_of_the_label_map(viewer: Browser) -> None:
    report = toy_report()
    native_from_world = np.linalg.inv(report.grid.affine)
    box = viewer.box("#canvas")
    seen = set()
    for across in np.linspace(0.02, 0.98, 40):
        for down in (0.3, 0.31, 0.32, 0.5, 0.6):
            viewer.move_mouse(box["x"] + across * box["width"], box["y"] + down * box["height"])
            text = viewer.evaluate("document.querySelector('#cursor').textContent")
            found = re.fullmatch(
                r"(.+) \(id (\d+)\) at x (.+), y (.+), z (.+) mm, entropy (.+) nats", text
            )
            if found is None:
                assert "Move over a slice" in text
                continue
            place = np.array([[float(found[n]) for n in (3, 4, 5)]])
            voxel = apply_affine(native_from_world, place)[0]
            near = np.rint(voxel).astype(int)
            if np.abs(voxel - near).max() > 0.4 or not (near >= 0).all():
                continue  # too near to a face to say which voxel it is
            if (near >= report.grid.shape).any():
                continue
            label = report.table.labels[report.label_map[tuple(near)]]
            assert (found[1], int(found[2])) == (label.name, label.id), text
            seen.add(label.name)
    assert seen == {"Background", "Left-Box<i>", "Right-Box"}


def test_the_crosshair_and_the_layouts_work(viewer: Browser) -> None:
    before = viewer.pixels()
    viewer.set_value("#layout", 0, "change")
    assert np.abs(viewer.pixels() - before).mean() > 0.01
    assert viewer.complaints == []


def test_the_cohort_page_links_to_pages_that_open(
    browser: Browser, page: Path, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    target = tmp_path / "sub" / "a b.html"
    target.write_bytes(page.read_bytes())
    scans = [
        CohortScan(
            f"scan-{n}", "sub/a%20b.html", verdict, (), None, 1.0, ("Box",), array("f", [900.0 + n])
        )
        for n, verdict in enumerate(("PASS", "FAIL", *["WARN"] * PART))
    ]
    [last] = write_cohort_pages(tmp_path / "report.html", "out", scans, ())
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(tmp_path / "report.html")
    assert browser.evaluate("document.querySelector('tbody a').textContent") == "scan-1"
    assert browser.evaluate("document.querySelector('img.chart').naturalWidth") > 500
    browser.evaluate("document.querySelector('tbody a').click()")
    browser.wait_for(f"{READY} === 'ready'")
    assert browser.requests == [(tmp_path / "report.html").as_uri(), target.as_uri()]
    browser.open(tmp_path / "report.html")
    browser.evaluate("document.querySelector('a[rel=next]').click()")
    browser.wait_for(f"document.URL === '{last.as_uri()}' && document.readyState === 'complete'")
    assert browser.evaluate("document.querySelectorAll('tbody a').length") == 2
    assert browser.complaints == []


def colored(viewer: Browser) -> float:
    return float(is_colored(viewer.pixels()).mean())


def press(viewer: Browser, key: str) -> None:
    viewer.evaluate("document.querySelector('#canvas').focus({preventScroll: true}); 0")
    for kind in ("keyDown", "keyUp"):
        viewer.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)


@pytest.mark.parametrize("width", [800, 1280, 1920])
def test_the_table_of_volumes_fits(browser: Browser, tmp_path: Path, width: int) -> None:
    page, report = tmp_path / "wide.html", toy_report()
    left, _ = report.volumes
    full = replace(
        left,
        hard_mm3=310_505.0,
        soft_mm3=311_529.0,
        calibrated_mm3=301_691.0,
        interval_mm3=(269_467.0, 337_768.0),
        reference_mm3=Range(2.1e5, 2.6e5, 3.3e5),
    )
    air, box, other = report.table.labels
    box = box.model_copy(update={"name": "Right-Cerebellum-White-Matter"})
    volumes = (full, replace(full, index=2, touches_edge=True))
    table = LabelTable(labels=(air, box, other))
    write_scan_page(page, replace(report, volumes=volumes, table=table))
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.call("Emulation.setDeviceMetricsOverride", **size)
    try:
        browser.open(page)
        script = "(() => { const s = document.querySelector('#volumes .scroll');"
        overflow = browser.evaluate(script + " return s.scrollWidth - s.clientWidth; })()")
        assert overflow <= 0
        assert browser.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert browser.box("#volumes table")["width"] > 0.5 * min(width, 1184)
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")


def test_a_row_jumps_to_its_structure(viewer: Browser) -> None:
    for index, name in ((1, "Left-Box<i>"), (2, "Right-Box")):
        viewer.evaluate(f"document.querySelector('button.jump[data-label=\"{index}\"]').click()")
        text = viewer.evaluate("document.querySelector('#cursor').textContent")
        assert text.startswith(f"{name} (id ")


def test_a_structure_can_be_hidden_and_outlined(viewer: Browser) -> None:
    def tick(selector: str) -> float:
        viewer.evaluate(f"document.querySelector('{selector}').click()")
        return colored(viewer)

    viewer.set_value("#label-opacity", 1)
    whole = colored(viewer)
    without = tick('input.shown[data-label="1"]')
    assert without < 0.9 * whole
    assert tick('input.shown[data-label="1"]') == pytest.approx(whole, rel=0.02)
    outlined = tick("#outlines")
    assert outlined < 0.8 * whole
    assert outlined > 0
    assert tick("#outlines") == pytest.approx(whole, rel=0.02)
    assert viewer.complaints == []


def test_the_keyboard_steers_the_viewer(viewer: Browser) -> None:
    before = viewer.pixels()
    place = viewer.evaluate("document.querySelector('#cursor').textContent")
    press(viewer, "ArrowRight")
    press(viewer, "PageUp")
    assert viewer.evaluate("document.querySelector('#cursor').textContent") != place
    press(viewer, "s")
    assert viewer.evaluate("document.querySelector('#label-opacity').value") == "0"
    press(viewer, "s")
    assert float(viewer.evaluate("document.querySelector('#label-opacity').value")) > 0
    press(viewer, "2")
    assert viewer.evaluate("document.querySelector('#layout').value") == "0"
    press(viewer, "o")
    assert viewer.evaluate("document.querySelector('#outlines').checked")
    assert np.abs(viewer.pixels() - before).mean() > 0.01
    assert viewer.complaints == []
