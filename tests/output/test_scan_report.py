"""`segment --report`: the pages, from scans to links."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seg_prior.api import Segmentation, Segmenter
from seg_prior.checkpoints.calibration import Calibration, Spread
from seg_prior.cli.app import main
from seg_prior.io.read import read_volume
from seg_prior.io.write import write_volume
from seg_prior.output.scan_report import report_of
from seg_prior.quality.measures import gather
from seg_prior.quality.verdict import MAX_BIAS, judge


@pytest.fixture(scope="module")
def result(phantom_folder: Path, tiny_atlas: Path) -> Segmentation:
    segmenter = Segmenter.load(tiny_atlas, device="cpu", threads=1)
    return segmenter.segment(phantom_folder / "sub-004_phantom.nii.gz")


def calibrated(result: Segmentation, shift: float) -> Segmentation:
    """The same reading by a model whose reference lies so many deviations above it."""
    segmenter = result.predictor
    measures = result.qc.measures
    calibration = Calibration(
        num_scans=20,
        quantile=1.7,
        warn_z=3.0,
        fail_z=6.0,
        temperature=1.0,
        volume_error={},
        log_volume={
            volume.name: Spread(mean=np.log(max(volume.soft_mm3, 1)) + 0.1 * shift, sd=0.1)
            for volume in result.volumes
        },
        measures={"size": Spread(mean=np.log(measures["size"]) + 0.1 * shift, sd=0.1)},
        check={},
    )
    header = segmenter.model.header
    header = header.model_copy(update={"calibration": calibration})
    model = replace(segmenter.model, header=header)
    return replace(result, predictor=replace(segmenter, model=model))


def test_a_report_shows_what_was_segmented(result: Segmentation) -> None:
    report = report_of(result, result.qc, {"a": 1})
    table = result.predictor.label_table
    np.testing.assert_array_equal(table.ids[report.label_map], result.label_map)
    assert report.image is result.volume.data
    hard_mm3 = {table.labels[v.index].id: v.hard_mm3 for v in report.volumes}
    for value, count in zip(*np.unique(result.label_map, return_counts=True), strict=True):
        if value:
            expected = count * result.volume.grid.voxel_volume_mm3
            assert hard_mm3[int(value)] == pytest.approx(expected)
    (contrast,) = report.contrasts
    assert sum(g.share for g in contrast.gaussians) == pytest.approx(1, abs=1e-4)
    # Where registration laid the prior, it mostly holds what was found there.
    both = (report.prior_map > 0) & (report.label_map > 0)
    assert (report.prior_map == report.label_map)[both].mean() > 0.6
    assert not np.array_equal(report.prior_map, report.label_map)


def test_every_contrast_has_its_own_gaussians(phantom_folder: Path, tiny_atlas: Path) -> None:
    segmenter = Segmenter.load(tiny_atlas, device="cpu", threads=1)
    scan = read_volume(phantom_folder / "sub-004_phantom.nii.gz")
    darkest = replace(scan, data=scan.data.max() - scan.data, source="inverted.nii.gz")
    result = segmenter.segment(scan, contrasts=[darkest])
    report = report_of(result, result.qc, {})
    first, second = report.contrasts
    assert second.name == "inverted.nii.gz"
    assert "inverted.nii.gz" in report.facts["Further contrasts"]
    assert np.corrcoef(first.intensities, second.intensities)[0, 1] < -0.99
    for contrast in report.contrasts:
        mean = sum(g.share * g.mean for g in contrast.gaussians)
        assert mean == pytest.approx(contrast.intensities.mean(), abs=0.05)


def test_without_a_calibration_nothing_is_judged(result: Segmentation) -> None:
    report = report_of(result, result.qc, {})
    assert report.verdict == "not measured"
    assert report.checks
    assert {check.verdict for check in report.checks} == {"not measured"}
    assert all(volume.reference_mm3 is None for volume in report.volumes)


@pytest.mark.parametrize(("shift", "verdict"), [(0, "PASS"), (4, "WARN"), (8, "FAIL")])
def test_each_measure_stands_beside_what_is_usual(
    result: Segmentation, shift: float, verdict: str
) -> None:
    judged = calibrated(result, shift)
    report = report_of(judged, judged.qc, {})
    size = next(check for check in report.checks if check.name.startswith("size"))
    assert size.verdict == verdict
    low, high = (float(end) for end in size.limit.split(" to "))
    assert (low < float(size.value) < high) == (verdict == "PASS")
    assert report.verdict == verdict
    assert any("size" in warning for warning in report.warnings) == (verdict != "PASS")
    for volume in report.volumes:
        assert volume.reference_mm3 is not None
        low_mm3, middle_mm3, high_mm3 = volume.reference_mm3
        assert low_mm3 < middle_mm3 < high_mm3
        shown = max(volume.soft_mm3, 1)
        assert np.log(middle_mm3 / shown) == pytest.approx(0.1 * shift), (volume, shown)


def test_a_folder_gets_a_page_for_each_scan_and_one_of_all(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans, out = tmp_path / "my scans", tmp_path / "out"
    scans.mkdir()
    for name in ("sub-003", "sub-004"):
        volume = read_volume(phantom_folder / f"{name}_phantom.nii.gz")
        write_volume(scans / f"{name} & co.nii.gz", volume.data, volume)
    write_volume(scans / "flat.nii.gz", np.ones(volume.grid.shape), volume)
    argv = ["segment", str(scans), str(out), "--report", "--model", str(tiny_atlas)]
    argv += ["--device", "cpu", "--threads", "1"]
    assert main(argv) == 1
    first = (out / "report.html").read_text(encoding="utf-8")
    assert "flat.nii.gz" in first
    assert "1 failed" in first
    addresses = re.findall(r'<a href="([^"]+)">', first)
    assert sorted(addresses) == [f"sub-00{n}%20%26%20co_report.html" for n in (3, 4)]
    assert (out / "sub-003 & co_report.html").is_file()
    assert (out / "sub-003 & co_volumes.tsv").is_file()
    page = (out / "sub-003 & co_report.html").read_text(encoding="utf-8")
    assert "sub-003 &amp; co.nii.gz" in page

    # What is finished is not made again, and still listed.
    made = (out / "sub-003 & co_report.html").stat().st_mtime_ns
    write_volume(scans / "flat.nii.gz", volume.data, volume)
    assert main(argv) == 0
    assert (out / "sub-003 & co_report.html").stat().st_mtime_ns == made
    second = (out / "report.html").read_text(encoding="utf-8")
    assert set(re.findall(r'<a href="([^"]+)">', second)) == {*addresses, "flat_report.html"}
    assert "failed" not in second


def test_without_a_report_no_drawing_library_is_imported(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path
) -> None:
    def loaded(*flags: str) -> set[str]:
        scan, out = phantom_folder / "sub-004_phantom.nii.gz", tmp_path / "a.nii.gz"
        argv = ["segment", str(scan), str(out), "--model", str(tiny_atlas), "--quiet", *flags]
        script = (
            f"import sys; from seg_prior.cli.app import main; main({argv!r}); print(*sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        return set(done.stdout.split())

    libraries = {"matplotlib", "jinja2"}
    assert not loaded("--volumes") & libraries
    assert libraries <= loaded("--report")


@pytest.mark.parametrize(("field", "verdict"), [(1.2, "PASS"), (1.7, "WARN")])
def test_a_report_shows_the_field_and_its_limit(
    result: Segmentation, field: float, verdict: str
) -> None:
    quality = judge(gather(result)._replace(bias_field=field), None)
    (check,) = (c for c in report_of(result, quality, {}).checks if "bias_field" in c.name)
    assert check[1:] == (f"{field}", f"at most {MAX_BIAS}", verdict)
