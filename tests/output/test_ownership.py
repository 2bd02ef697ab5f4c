"""What is not ours is not replaced, nor the result of another scan."""

import shutil
from pathlib import Path

import pytest

from seg_prior.api import Segmenter
from seg_prior.cli.app import main
from seg_prior.errors import ConfigError
from seg_prior.io.read import read_volume
from tests.output.test_cohort import EXTRAS, NAMES, sums, times, words


@pytest.mark.parametrize("number", [0, 1])
def test_a_label_map_of_somebody_else_is_not_replaced(
    scans: Path, tiny_atlas: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = scans / f"{NAMES[number]}_dseg.nii.gz"
    drawn.write_bytes(b"hours of work")
    before = sums(scans)
    assert main(words(Path(f"{scans}/*w.nii.gz"), scans, tiny_atlas)) == 2
    assert f"{drawn}: found a file that segment did not write" in capsys.readouterr().err
    assert sums(scans) == before


@pytest.mark.parametrize(
    "name",
    ["a.json", "a_volumes.tsv", "a_report.html", "a_entropy.nii.gz", "a_probseg.json"],
)
def test_no_file_beside_the_label_map_is_replaced_either(
    scans: Path, tiny_atlas: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (scans / name).write_text('{"RepetitionTime": 2.3}')
    before = sums(scans)
    argv = words(scans / "sub-01_T1w.nii.gz", scans / "a.nii.gz", tiny_atlas, *EXTRAS, "--report")
    assert main(argv) == 2
    assert f"{scans / name}: found a file that segment did not write" in capsys.readouterr().err
    assert sums(scans) == before


@pytest.mark.parametrize("name", ["volumes.tsv", "failed.tsv", "report.html"])
def test_no_table_of_somebody_else_is_replaced(
    scans: Path, tiny_atlas: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (scans / name).write_text("mine")
    before = sums(scans)
    assert main(words(scans, scans, tiny_atlas)) == 2
    assert f"{scans / name}: found a file that segment did not write" in capsys.readouterr().err
    assert sums(scans) == before


@pytest.mark.parametrize("name", ["README", ".bidsignore", "dataset_description.json"])
def test_no_root_of_another_data_set_is_replaced(
    scans: Path, tiny_atlas: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (scans / name).write_text("{}")
    before = sums(scans)
    assert main(words(scans, scans, tiny_atlas, "--bids")) == 2
    assert f"{scans / name}: found " in capsys.readouterr().err
    assert sums(scans) == before


def test_a_result_that_somebody_corrected_stays(
    scans: Path, tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, target = scans / "sub-01_T1w.nii.gz", tmp_path / "a.nii.gz"
    assert main(words(scan, target, tiny_atlas)) == 0
    target.write_bytes(b"corrected by hand")
    assert main(words(scan, target, tiny_atlas)) == 0  # finished
    assert main(words(scan, target, tiny_atlas, "--overwrite")) == 2
    assert f"{target}: found a file that segment did not write" in capsys.readouterr().err
    assert target.read_bytes() == b"corrected by hand"


@pytest.mark.parametrize("kind", ["same", "symbolic", "hard", "contrast", "model"])
def test_an_input_is_no_place_for_a_result(
    scans: Path, tiny_atlas: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, other, model = (scans / n for n in ("sub-01_T1w.nii.gz", "other.nii.gz", "m.nii.gz"))
    shutil.copy(tiny_atlas, model)
    flags: tuple[str, ...] = ()
    if kind == "same":
        other = scans / ".." / "scans" / scan.name
    elif kind == "symbolic":
        other.symlink_to(scan)
    elif kind == "hard":
        other.hardlink_to(scan)
    elif kind == "contrast":
        other = scans / "sub-03_T1w.nii.gz"
        flags = ("--contrasts", str(other))
    else:
        other = model
    before = sums(scans)
    assert main(words(scan, other, model, *flags, "--overwrite")) == 2
    assert "which is an input of this command, need another place" in capsys.readouterr().err
    assert sums(scans) == before


def test_a_second_contrast_has_its_own_place(scans: Path, tiny_atlas: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for suffix in ("T1w", "T2w"):
        assert main(words(scans / f"sub-03_{suffix}.nii.gz", out, tiny_atlas)) == 0
    assert sorted(times(out)) == [f"{name}_dseg.nii.gz" for name in NAMES[2:]]


def test_a_scan_of_the_same_name_elsewhere_does_not_replace_the_first(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, scan = tmp_path / "out", {}
    for number, site in enumerate(("siteA", "siteB"), start=1):
        scan[site] = tmp_path / site / "mri" / "T1.nii.gz"
        scan[site].parent.mkdir(parents=True)
        shutil.copy(phantom_folder / f"sub-00{number}_phantom.nii.gz", scan[site])
    assert main(words(scan["siteA"], out, tiny_atlas)) == 0
    before = sums(out)
    for flags in ((), ("--overwrite",)):
        assert main(words(scan["siteB"], out, tiny_atlas, *flags)) == 2
        line = capsys.readouterr().err
        assert f"found the result of {scan['siteA']}, need a place for that of" in line
        assert sums(out) == before
    # A copy of the same bytes is the same scan.
    shutil.copy(scan["siteA"], scan["siteB"])
    assert main(words(scan["siteB"], out, tiny_atlas)) == 0
    assert sums(out) == before
    # Both at once are named apart.
    shutil.copy(phantom_folder / "sub-003_phantom.nii.gz", scan["siteB"])
    assert main(words(tmp_path / "site*" / "mri" / "T1.nii.gz", out, tiny_atlas)) == 0
    names = ["T1_dseg.nii.gz", "siteA_T1_dseg.nii.gz", "siteB_T1_dseg.nii.gz"]
    assert sorted(times(out)) == names


def test_another_content_at_the_same_place_is_asked_about(
    phantom_folder: Path,
    scans: Path,
    tiny_atlas: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, scan = tmp_path / "out", scans / "sub-01_T1w.nii.gz"
    assert main(words(scan, out, tiny_atlas)) == 0
    before = sums(out)
    shutil.copy(phantom_folder / "sub-004_phantom.nii.gz", scan)
    assert main(words(scan, out, tiny_atlas)) == 2
    assert "as it was before" in capsys.readouterr().err
    assert sums(out) == before
    assert main(words(scan, out, tiny_atlas, "--overwrite")) == 0
    assert sums(out) != before


def test_python_does_not_replace_another_scan_either(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path
) -> None:
    segmenter = Segmenter.load(tiny_atlas, device="cpu", threads=1)
    first, second = (read_volume(phantom_folder / f"sub-00{n}_phantom.nii.gz") for n in (1, 2))
    results = [segmenter.segment(v.data, v.grid.affine) for v in (first, second, first)]
    results[0].save(tmp_path)
    before = sums(tmp_path)
    with pytest.raises(ConfigError, match=r"image_dseg\.nii\.gz: found the result of another scan"):
        results[1].save(tmp_path)
    assert sums(tmp_path) == before
    results[2].save(tmp_path)
    assert len(times(tmp_path)) == 1


def test_a_page_of_somebody_else_is_not_replaced(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path
) -> None:
    result = Segmenter.load(tiny_atlas, device="cpu", threads=1).segment(
        phantom_folder / "sub-001_phantom.nii.gz"
    )
    page = tmp_path / "page.html"
    page.write_text("mine")
    with pytest.raises(ConfigError, match=r"page\.html: found a file that seg-prior did not write"):
        result.report(page)
    assert page.read_text() == "mine"
    page.unlink()
    for _ in range(2):
        assert result.report(page) == page
