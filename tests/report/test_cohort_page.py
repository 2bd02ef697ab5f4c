"""The page of many scans: worst first, each with its link."""

import base64
import re
from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np

from seg_prior.report.charts import volume_chart
from seg_prior.report.cohort_page import PART, CohortScan, _volumes, write_cohort_pages
from tests.report.toy import NASTY


def scan(name: str, verdict: str, deviation: float | None = None) -> CohortScan:
    return CohortScan(
        name=name,
        address=f"{name}_report.html",
        verdict=verdict,
        findings=("size is <odd>",) if verdict in ("WARN", "FAIL") else (),
        volume_deviation=deviation,
        time_s=12.0,
        labels=("Box", "Ball"),
        volumes_mm3=array("f", [1000.0, 500.0]),
    )


def read(tmp_path: Path, *scans: CohortScan, failed: tuple[tuple[str, str], ...] = ()) -> str:
    write_cohort_pages(tmp_path / "report.html", "out", scans, failed)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_worst_stands_first(tmp_path: Path) -> None:
    html = read(
        tmp_path,
        scan("good", "PASS", 0.5),
        scan("doubtful", "WARN", 2.0),
        scan("unusual", "PASS", 1.5),
        scan("wrong", "FAIL", 9.0),
        scan("unknown", "not measured"),
    )
    names = re.findall(r'<a href="(\w+)_report.html">(\w+)</a>', html)
    assert [name for name, _ in names] == ["wrong", "doubtful", "unknown", "unusual", "good"]
    assert all(address == name for address, name in names)


def test_what_failed_is_told(tmp_path: Path) -> None:
    html = read(tmp_path, scan("good", "PASS"), failed=((NASTY, "no <contrast>"),))
    assert "1 failed" in html
    assert "no &lt;contrast&gt;" in html
    assert "<b>" not in html


def test_scans_without_a_volume_are_left_out_of_its_row(tmp_path: Path) -> None:
    other = replace(scan("o", "PASS"), labels=("Other", "Box"), volumes_mm3=array("f", [0, 2]))
    assert "data:image/svg+xml" in read(tmp_path, scan("a", "PASS"), other)
    names, volumes_mm3 = _volumes([scan("a", "PASS"), other])
    assert names == ["Box", "Ball", "Other"]
    np.testing.assert_array_equal(volumes_mm3, [[1000, 2], [500, np.nan], [np.nan, 0]])


def test_no_scan_at_all(tmp_path: Path) -> None:
    html = read(tmp_path, failed=(("a.nii", "constant"),))
    assert "0 scans" in html
    assert "data:image/svg+xml" not in html


def test_of_many_findings_two_are_seen_at_once(tmp_path: Path) -> None:
    many = replace(scan("a", "FAIL"), findings=("first", "second", "third", "fourth"))
    html = read(tmp_path, many)
    shown, _, folded = html.partition("<summary>2 more</summary>")
    assert "second" in shown
    assert "third" not in shown
    assert "fourth" in folded
    assert "<summary>" not in read(tmp_path, replace(many, findings=("first", "second")))


def test_many_scans_come_in_parts_that_lead_to_each_other(tmp_path: Path) -> None:
    many = [scan(f"s{n}", "PASS", float(n)) for n in range(2 * PART)]
    first = tmp_path / "report.html"
    parts = write_cohort_pages(first, "out", [*many, scan("wrong", "FAIL")], ())
    assert [part.name for part in parts] == ["report_2.html", "report_3.html"]
    pages = [page.read_text(encoding="utf-8") for page in (first, *parts)]
    shown = [re.findall(r'<th scope="row"><a href="(\w+)_report.html">', page) for page in pages]
    in_order = ["wrong", *(f"s{n}" for n in reversed(range(2 * PART)))]
    assert [name for names in shown for name in names] == in_order
    assert [len(names) for names in shown] == [PART, PART, 1]
    for number, html in enumerate(pages, 1):
        assert f"{2 * PART + 1} scans" in html
        assert f"Part {number} of 3" in html
        links = set(re.findall(r'<a href="(report(?:_\d)?\.html)"', html))
        assert links == {path.name for path in (first, *parts)} - {[first, *parts][number - 1].name}
        assert ("data:image/svg+xml" in html) == (number == 1)
    assert "Part" not in read(tmp_path, *many[:PART])


def test_what_failed_is_told_as_far_as_a_page_goes(tmp_path: Path) -> None:
    html = read(tmp_path, failed=tuple((f"f{n}.nii", "empty") for n in range(PART + 2)))
    assert f"{PART + 2} failed" in html
    assert html.count("<code>f") == PART
    assert "And 2 more, in failed.tsv." in html


def test_the_chart_of_many_scans_has_dots_for_the_worst_alone() -> None:
    def num_dots(num_scans: int) -> int:
        volumes_ml = np.linspace(1, 2, 3 * num_scans).reshape(3, num_scans)
        chart = volume_chart(["a", "b", "c"], volumes_ml, ["FAIL"] * 10)
        svg = base64.b64decode(chart.partition("base64,")[2]).decode()
        return svg.count("fill: #b3261e")

    assert num_dots(10) == num_dots(5000) >= 30
