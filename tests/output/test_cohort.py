"""Many scans: what is finished stays, what failed is told, and a killed run is completed."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from seg_prior.cli.app import main
from seg_prior.output import cohort, layout

EXTRAS = ["--volumes", "--posteriors", "--entropy"]
RUNTIME = ["--device", "cpu", "--threads", "1"]


@pytest.fixture
def scans(phantom_folder: Path, tmp_path: Path) -> Path:
    """Three subjects, one of them with two contrasts."""
    folder = tmp_path / "scans"
    folder.mkdir()
    names = ("sub-01_T1w", "sub-02_ses-1_T1w", "sub-03_T1w", "sub-03_T2w")
    for number, name in enumerate(names, start=1):
        shutil.copy(phantom_folder / f"sub-{number:03d}_phantom.nii.gz", folder / f"{name}.nii.gz")
    return folder


def words(scans: Path, out: Path, model: Path, *flags: str) -> list[str]:
    return ["segment", str(scans), str(out), "--model", str(model), *RUNTIME, *flags]


def content(folder: Path) -> dict[str, Any]:
    """Every file below a folder: its bytes; of a sidecar all but when and how fast."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".json":
            sidecar = json.loads(path.read_text())
            sidecar.pop("seconds", None)
            sidecar.get("provenance", {}).pop("created", None)
            found[name] = sidecar
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*_dseg.nii.gz")}


NAMES = ["sub-01", "sub-02_ses-1", "sub-03_space-T1w", "sub-03_space-T2w"]


def test_finished_scans_stay_until_something_changes(
    scans: Path, tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    argv = words(scans, out, tiny_atlas, "--volumes")
    assert main(argv) == 0
    first = times(out)
    assert sorted(first) == [f"{name}_dseg.nii.gz" for name in NAMES]
    capsys.readouterr()

    assert main(argv) == 0
    assert times(out) == first
    assert capsys.readouterr().out.startswith("4 of 4 scans are finished")

    image = nib.load(scans / "sub-01_T1w.nii.gz")
    nib.save(
        nib.Nifti1Image(np.asanyarray(image.dataobj) * 2, image.affine),
        scans / "sub-01_T1w.nii.gz",
    )
    (out / "sub-02_ses-1_volumes.tsv").unlink()
    assert main(argv) == 0
    second = times(out)
    assert {name.split("_")[0] for name in first if second[name] != first[name]} == {
        "sub-01",
        "sub-02",
    }
    for flags in (["--output", "prior"], ["--output", "prior", "--overwrite"]):
        before = times(out)
        assert main([*argv, *flags]) == 0
        assert all(time_ns != before[name] for name, time_ns in times(out).items())


def test_one_that_fails_stops_nobody_and_is_listed(
    scans: Path, tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, bad = tmp_path / "out", scans / "sub-02_ses-1_T1w.nii.gz"
    good = bad.read_bytes()
    bad.write_bytes(good[: len(good) // 2])
    argv = words(scans, out, tiny_atlas)
    assert main(argv) == 1
    assert "seg-prior: 1 failed:" in capsys.readouterr().err
    with (out / "failed.tsv").open(newline="") as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert row["scan"] == str(bad)
    assert "truncated or damaged" in row["message"]
    before = times(out)
    assert len(before) == 3

    bad.write_bytes(good)
    assert main(argv) == 0
    assert not (out / "failed.tsv").exists()
    after = times(out)
    assert {name: after[name] for name in before} == before
    assert len(after) == 4


def test_what_nobody_foresaw_in_one_scan_costs_that_one(
    scans: Path, tiny_atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seg_prior.api import Segmenter

    whole = Segmenter.segment

    def sometimes(self: Segmenter, image: Path, **others: object) -> object:
        if "sub-01" in str(image):
            raise RuntimeError("out of luck")
        return whole(self, image, **others)

    monkeypatch.setattr(Segmenter, "segment", sometimes)
    out = tmp_path / "out"
    assert main(words(scans, out, tiny_atlas)) == 1
    assert "RuntimeError: out of luck" in (out / "failed.tsv").read_text()
    assert len(times(out)) == 3


def test_shards_together_are_the_whole(
    scans: Path, tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(words(scans, whole, tiny_atlas, "--volumes")) == 0
    num = []
    for index in (2, 1, 3):
        assert main(words(scans, parts, tiny_atlas, "--volumes", "--shard", f"{index}/3")) == 0
        num.append(len(times(parts)))
    assert num == [1, 3, 4]
    found, wanted = content(parts), content(whole)
    assert found.keys() == wanted.keys()
    assert all(found[name] == wanted[name] for name in wanted)
    with (parts / "volumes.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert list(dict.fromkeys(row["scan"] for row in rows)) == NAMES
    assert all(float(row["volume_mm3"]) > 0 for row in rows if row["index"] == "20")
    assert main(words(scans, parts, tiny_atlas, "--shard", "4/3")) == 2
    assert "shard: found 4/3, need I/N" in capsys.readouterr().err
    assert cohort.failures_name("2/3") == "failed_shard-2-of-3.tsv"


@pytest.mark.parametrize("name", ["sub-01_dseg.nii.gz", "sub-02_ses-1_dseg.nii.gz"])
def test_a_label_map_of_somebody_else_is_not_replaced(
    scans: Path, tiny_atlas: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = scans / name
    drawn.write_bytes(b"hours of work")
    assert main(words(Path(f"{scans}/*w.nii.gz"), scans, tiny_atlas)) == 2
    assert f"{drawn}: found a file that segment did not write" in capsys.readouterr().err
    assert drawn.read_bytes() == b"hours of work"
    assert len(times(scans)) == 1


def test_a_second_contrast_does_not_replace_the_first(
    scans: Path, tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(words(scans / "sub-03_T1w.nii.gz", out, tiny_atlas)) == 0
    assert main(words(scans / "sub-03_T2w.nii.gz", out, tiny_atlas)) == 2
    line = capsys.readouterr().err
    assert "sub-03_dseg.nii.gz: found the result of" in line
    assert "sub-03_T1w.nii.gz, need a place for that of" in line


INTERRUPTED = """
import os, signal, sys
from seg_prior.cli.app import main
replace, left = os.replace, int(sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
def stop(source, target):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    replace(source, target)
os.replace = stop
sys.exit(main(sys.argv[3:]))
"""


def interrupted(num_files: int, name: str, argv: list[str]) -> subprocess.CompletedProcess[str]:
    """A run that gets a signal when it has written so many files and is about to name one more."""
    return subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(num_files + 1), name, *argv],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_run_is_completed_with_the_same_bytes(
    scans: Path, tiny_atlas: Path, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert main(words(scans, whole, tiny_atlas, *EXTRAS)) == 0
    argv = words(scans, out, tiny_atlas, *EXTRAS)
    # Six files a scan: killed inside the first scan, after the label map of the next, and so on.
    for num_files, name, code in ((3, "SIGKILL", -9), (5, "SIGKILL", -9), (7, "SIGINT", 130)):
        done = interrupted(num_files, name, argv)
        assert done.returncode == code, done.stderr
    assert done.stderr.endswith("seg-prior: interrupted.\n")
    between = times(out)
    assert 1 <= len(between) < 4
    assert main(argv) == 0
    assert {name: times(out)[name] for name in between} == between
    found, wanted = content(out), content(whole)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name] != wanted[name]] == []


def test_bytes_do_not_depend_on_when_they_are_written(
    scans: Path, tiny_atlas: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        argv = words(scans / "sub-01_T1w.nii.gz", tmp_path / name, tiny_atlas, *EXTRAS)
        assert main(argv) == 0
        time.sleep(1.1)  # gzip counts seconds
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_the_last_lines_name_every_scan_to_look_at(tmp_path: Path) -> None:
    jobs = []
    for name, verdict in (("a", "PASS"), ("b", "WARN"), ("c", "FAIL"), ("d", "PASS")):
        job = layout.Job(tmp_path / f"{name}.nii.gz", tmp_path / f"{name}_dseg.nii.gz")
        job.target.touch()
        findings = [] if verdict == "PASS" else [{"text": f"rule of {name}"}]
        sidecar = {"quality": {"verdict": verdict, "findings": findings}}
        (tmp_path / f"{name}_dseg.json").write_text(json.dumps(sidecar))
        jobs.append(job)
    assert cohort.describe_quality(jobs) == [
        "quality control: 1 FAIL, 1 WARN, 2 PASS",
        f"  FAIL {jobs[2].image}: rule of c",
        f"  WARN {jobs[1].image}: rule of b",
    ]
    jobs[2].target.unlink()  # not finished
    assert "FAIL" not in "".join(cohort.describe_quality(jobs))
    assert cohort.describe_quality([]) == []


def test_a_model_without_calibration_is_not_called_good(tmp_path: Path) -> None:
    job = layout.Job(tmp_path / "a.nii.gz", tmp_path / "a_dseg.nii.gz")
    job.target.touch()
    sidecar = {"quality": {"verdict": "not measured", "findings": []}}
    (tmp_path / "a_dseg.json").write_text(json.dumps(sidecar))
    assert cohort.describe_quality([job]) == [
        "quality control: 1 not measured",
        "  the model has no calibration; seg-prior calibrate makes one",
    ]
