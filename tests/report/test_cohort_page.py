"""The page of many scans: worst first, each with its link."""

import re
from dataclasses import replace
from pathlib import Path

from seg_prior.report.cohort_page import CohortScan, write_cohort_page
from tests.report.toy import NASTY


def scan(name: str, verdict: str, deviation: float | None = None) -> CohortScan:
    return CohortScan(
        name=name,
        address=f"{name}_report.html",
        verdict=verdict,
        findings=("size is <odd>",) if verdict in ("WARN", "FAIL") else (),
        volume_deviation=deviation,
        time_s=12.0,
        volumes_mm3={"Box": 1000.0, "Ball": 500.0},
    )


def read(tmp_path: Path, *scans: CohortScan, failed: tuple[tuple[str, str], ...] = ()) -> str:
    write_cohort_page(tmp_path / "report.html", "out", scans, failed)
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
    other = CohortScan("o", "o.html", "PASS", (), None, 1.0, {"Other": 0.0})
    assert "data:image/svg+xml" in read(tmp_path, scan("a", "PASS"), other)


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
