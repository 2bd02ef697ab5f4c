"""The page of one scan holds all it shows, and shows what it was given."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from seg_prior.report.scan import Contrast
from seg_prior.report.scan_page import write_scan_page
from tests.report.toy import NASTY, toy_report


class Reader(HTMLParser):
    """Text, tags and addresses of a page, as a browser would take them."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Reader]:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_scan_page(path, toy_report())
    html = path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(html)
    return html, reader


def test_nothing_is_fetched(page: tuple[str, Reader]) -> None:
    _, reader = page
    assert len(reader.addresses) > 20
    assert [a for a in reader.addresses if not a.startswith(("data:", "#"))] == []
    assert "link" in reader.tags  # an empty icon, or the browser asks for one


def test_names_are_text(page: tuple[str, Reader]) -> None:
    _, reader = page
    assert NASTY in "".join(reader.text)
    assert "Left-Box<i>" in "".join(reader.text)
    assert "what <script>alert(1)</script> says" in reader.text
    assert "b" not in reader.tags
    assert "i" not in reader.tags
    assert reader.tags.count("script") == 3  # data, NiiVue, and the page's own


def test_what_was_not_measured_is_said(page: tuple[str, Reader]) -> None:
    html, _ = page
    right = re.search(r"<button[^>]*>Right-Box.*?</tr>", html, re.S)
    assert right is not None
    assert right[0].count("not measured") == 3  # calibrated, interval and reference
    assert "a part may be missing" in right[0]
    left = re.search(r"Left-Box&lt;i&gt;</button></th>.*?</tr>", html, re.S)
    assert left is not None
    assert "11,000 – 12,000" in left[0]
    assert "115% of the reference&#39;s median" in left[0]


def test_a_volume_beyond_its_reference_stands_out(tmp_path: Path) -> None:
    report = toy_report()
    beyond = replace(report.volumes[0], soft_mm3=20_000.0)
    write_scan_page(tmp_path / "a.html", replace(report, volumes=(beyond,)))
    assert "outside its middle 90 %" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_a_model_without_reference_has_no_verdict(tmp_path: Path) -> None:
    report = replace(toy_report(), verdict="not measured", checks=())
    write_scan_page(tmp_path / "a.html", report)
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "No verdict" in text
    assert '<span class="verdict not measured">' in text


def test_licenses_travel_with_the_page(page: tuple[str, Reader]) -> None:
    html, _ = page
    assert "Copyright (c) 2021, Niivue" in html
    assert "fflate" in html


def test_the_same_scan_gives_the_same_page(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_scan_page(tmp_path / name, toy_report())
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_scan_in_which_nothing_was_found_has_a_page(tmp_path: Path) -> None:
    report = toy_report()
    empty = np.zeros_like(report.label_map)
    nothing = tuple(replace(volume, hard_mm3=0.0, soft_mm3=0.0) for volume in report.volumes)
    # A contrast that shows none of the anatomy, beside one that does.
    blind = Contrast("elsewhere.nii", np.zeros(0, dtype=np.float32), report.contrasts[0].gaussians)
    report = replace(report, label_map=empty, volumes=nothing, contrasts=(*report.contrasts, blind))
    write_scan_page(tmp_path / "a.html", report)
    html = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "elsewhere.nii" in html
    assert html.count('<figure class="slice">') == 24
