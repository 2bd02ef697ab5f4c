"""Many scans: what is finished stays, what failed is told, and a killed run is completed."""

import csv
import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from seg_prior.cli.app import main
from seg_prior.config.output import OutputOptions
from seg_prior.errors import OutputError
from seg_prior.files import claimed
from seg_prior.output import cohort
from seg_prior.output.cohort import Judged
from seg_prior.output.cohort_tables import check_tables, write_tables

EXTRAS = ["--volumes", "--posteriors", "--entropy"]
RUNTIME = ["--device", "cpu", "--threads", "1"]


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


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def sums(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*_dseg.nii.gz")}


NAMES = [
    "sub-01_space-T1w",
    "sub-02_ses-1_space-T1w",
    "sub-03_space-T1w",
    "sub-03_space-T2w",
]


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

    (out / f"{NAMES[1]}_volumes.tsv").unlink()
    assert main(argv) == 0
    second = times(out)
    assert {name for name in first if second[name] != first[name]} == {f"{NAMES[1]}_dseg.nii.gz"}
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
    (row,) = table(out / "failed.tsv")
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


@pytest.mark.parametrize("flags", [["--report"], ["--bids"]])
def test_a_damaged_model_leaves_nothing_behind(
    scans: Path, tiny_atlas: Path, tmp_path: Path, flags: list[str]
) -> None:
    model, out = tmp_path / "m.safetensors", tmp_path / "out"
    raw = bytearray(tiny_atlas.read_bytes())
    raw[-1] ^= 1
    model.write_bytes(raw)
    assert main(words(scans, out, model, *flags)) == 2
    assert not out.exists()


def test_a_name_that_is_no_utf_8_ends_no_cohort(
    scans: Path, tiny_atlas: Path, tmp_path: Path
) -> None:
    raw = os.fsencode(scans)
    os.rename(raw + b"/sub-01_T1w.nii.gz", raw + b"/sub-\xff\xfe_T1w.nii.gz")
    (scans / os.fsdecode(b"\xff.nii.gz")).write_bytes(b"no image")
    out = tmp_path / "out"
    argv = [sys.executable, "-m", "seg_prior", *words(scans, out, tiny_atlas, "--report")]
    foreseen = subprocess.run([*argv, "--dry-run"], capture_output=True, check=True)
    assert rb"\udcff\udcfe_T1w.nii.gz" in foreseen.stdout
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert (out / os.fsdecode(b"sub-\xff\xfe_space-T1w_report.html")).is_file()
    assert "sub-%FF%FE_space-T1w_report.html" in (out / "report.html").read_text()
    (row,) = table(out / "failed.tsv")
    assert row["scan"].endswith("\\udcff.nii.gz")
    scans_told = {row["scan"] for row in table(out / "volumes.tsv")}
    assert r"sub-\udcff\udcfe_space-T1w" in scans_told
    assert len(scans_told) == 4


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
    rows = table(parts / "volumes.tsv")
    assert list(dict.fromkeys(row["scan"] for row in rows)) == NAMES
    assert all(float(row["volume_mm3"]) > 0 for row in rows if row["index"] == "20")
    assert main(words(scans, parts, tiny_atlas, "--shard", "4/3")) == 2
    assert "shard: found 4/3, need I/N" in capsys.readouterr().err


def test_a_wide_table_has_a_row_for_each_scan(
    scans: Path, tiny_atlas: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert main(words(scans, out, tiny_atlas, "--wide")) == 0
    long, wide = table(out / "volumes.tsv"), table(out / "volumes_wide.tsv")
    assert [row["scan"] for row in wide] == list(dict.fromkeys(row["scan"] for row in long))
    of_scan = {row["scan"]: row for row in wide}
    for row in long:
        assert of_scan[row["scan"]][f"{row['name']}_mm3"] == row["volume_mm3"]
        assert of_scan[row["scan"]][f"{row['name']}_calibrated_mm3"] == "n/a"
    header = list(wide[0])
    assert header[:2] == ["scan", "quality"]
    assert len(header) == 2 + 2 * len({row["name"] for row in long})
    # A table of an earlier version is ours, and its columns are told by their names.
    [first, *_] = sorted(out.glob("*_volumes.tsv"))
    rows = [line.split("\t") for line in first.read_text().splitlines()]
    first.write_text("".join("\t".join([*row[:6], *row[7:]]) + "\n" for row in rows))
    (out / "volumes.tsv").write_text("scan\tindex\tname\tvolume_mm3\tposterior_volume_mm3\tz\n")
    check_tables(out)
    write_tables(out, OutputOptions(volumes=True))
    assert table(out / "volumes.tsv") == long


def test_a_folder_may_be_its_own_out(scans: Path, tiny_atlas: Path) -> None:
    argv = words(scans, scans, tiny_atlas, *EXTRAS)
    assert main(argv) == 0
    first = times(scans)
    assert sorted(first) == [f"{name}_dseg.nii.gz" for name in NAMES]
    assert main(argv) == 0
    assert times(scans) == first
    assert main([*argv, "--overwrite"]) == 0
    assert times(scans).keys() == first.keys()


def test_a_task_a_scan_ends_in_tables_of_all(scans: Path, tiny_atlas: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    bad = scans / "sub-04_T1w.nii.gz"
    bad.write_bytes((scans / "sub-01_T1w.nii.gz").read_bytes()[:2000])
    assert main(words(scans, whole, tiny_atlas, "--report")) == 1
    for scan in sorted(scans.iterdir()):
        assert main(words(scan, parts, tiny_atlas, "--report")) == (2 if scan == bad else 0)
    assert (parts / "volumes.tsv").read_bytes() == (whole / "volumes.tsv").read_bytes()
    assert (parts / "failed.tsv").read_bytes() == (whole / "failed.tsv").read_bytes()
    assert [row["scan"] for row in table(parts / "failed.tsv")] == [str(bad)]
    page = (parts / "report.html").read_text()
    assert all(f"{name}_report.html" in page for name in NAMES)
    # A later request of one scan, and for less, leaves the others and the failure where they are.
    assert main(words(scans / "sub-01_T1w.nii.gz", parts, tiny_atlas)) == 0
    assert [row["scan"] for row in table(parts / "failed.tsv")] == [str(bad)]
    assert {row["scan"] for row in table(parts / "volumes.tsv")} == set(NAMES[1:])
    shutil.copy(scans / "sub-01_T1w.nii.gz", bad)
    assert main(words(bad, parts, tiny_atlas, "--report")) == 0
    assert not (parts / "failed.tsv").exists()
    assert not list(parts.glob("*_failed.json"))


def test_a_dead_link_and_a_dead_line_are_failures_that_stop_nobody(
    scans: Path, tiny_atlas: Path, tmp_path: Path
) -> None:
    out, link = tmp_path / "out", scans / "sub-02_T1w.nii.gz"
    link.symlink_to(".git/annex/objects/aa/MD5E-s1--0.nii.gz")
    lines = ["sub-01_T1w.nii.gz", "nope/sub-09_T1w.nii.gz", "sub-02_T1w.nii.gz"]
    (scans / "list.txt").write_text("\n".join(lines), encoding="utf-8-sig")
    assert main(words(scans / "list.txt", out, tiny_atlas)) == 1
    assert list(times(out)) == [f"{NAMES[0]}_dseg.nii.gz"]
    rows = {Path(row["scan"]).name: row["message"] for row in table(out / "failed.tsv")}
    assert rows.keys() == {"sub-02_T1w.nii.gz", "sub-09_T1w.nii.gz"}
    assert "found a link to .git/annex" in rows["sub-02_T1w.nii.gz"]
    assert "no such file" in rows["sub-09_T1w.nii.gz"]
    assert main(words(scans, out, tiny_atlas)) == 1
    assert len(times(out)) == 4
    assert len(table(out / "failed.tsv")) == 2


def test_two_runs_share_the_work(
    scans: Path, tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    argv = words(scans, out, tiny_atlas, "--volumes")
    with claimed(out / f"{NAMES[0]}_dseg.nii.gz"):
        assert main(argv) == 0
    assert "1 of 4 scans are left to another run, which has them" in "".join(capsys.readouterr())
    assert len(times(out)) == 3
    assert main(argv) == 0
    assert len(times(out)) == 4


def test_what_another_run_finished_meanwhile_is_not_done_again(
    scans: Path, tiny_atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seg_prior.api import Segmenter

    out, whole = tmp_path / "out", Segmenter.segment
    done: list[str] = []

    def segment(self: Segmenter, image: Path, **others: Any) -> object:
        done.append(image.name)
        if len(done) == 1:  # while the first is read, another run does all others
            assert main(argv) == 0
        return whole(self, image, **others)

    argv = words(scans, out, tiny_atlas, "--volumes")
    monkeypatch.setattr(Segmenter, "segment", segment)
    assert main(argv) == 0
    assert len(done) == 4
    assert {row["scan"] for row in table(out / "volumes.tsv")} == set(NAMES)


def test_a_full_disk_is_told_and_the_old_result_stays(
    scans: Path,
    tiny_atlas: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    argv = words(scans, out, tiny_atlas, "--volumes")
    assert main(argv) == 0
    before = sums(out)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("nibabel.save", full)
    assert main([*argv, "--overwrite"]) == 2
    line = f"{out / NAMES[0]}_dseg.nii.gz: cannot be written (No space left on device), need room"
    assert line in capsys.readouterr().err
    assert sums(out) == before


def test_a_folder_without_leave_is_told_before_the_work(
    scans: Path,
    tiny_atlas: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from seg_prior.api import Segmenter

    def closed(folder: Path) -> None:
        raise OutputError(f"{folder}: cannot be written.")

    monkeypatch.setattr("seg_prior.output.guard.check_writable", closed)
    monkeypatch.setattr(Segmenter, "of", lambda *_: pytest.fail("worked"))
    assert main(words(scans, tmp_path / "out", tiny_atlas)) == 2
    assert f"{tmp_path / 'out'}: cannot be written" in capsys.readouterr().err


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
    # A scan takes five names in its staging folder, and seven to put them in place: killed in the
    # first and the second half of the first scan, and of a later one.
    kills = ((3, "SIGKILL", -9), (8, "SIGKILL", -9), (19, "SIGKILL", -9), (14, "SIGINT", 130))
    for num_files, name, code in kills:
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


def test_the_last_lines_name_every_scan_to_look_at() -> None:
    judged = []
    for name, verdict in (("a", "PASS"), ("b", "WARN"), ("c", "FAIL"), ("d", "PASS")):
        findings = [] if verdict == "PASS" else [{"text": f"rule of {name}"}]
        sidecar = {"quality": {"verdict": verdict, "findings": findings}}
        judged.append((f"{name}.nii", Judged.of(sidecar)))
    assert cohort.describe_quality(judged) == [
        "quality control: 1 FAIL, 1 WARN, 2 PASS",
        "  FAIL c.nii: rule of c",
        "  WARN b.nii: rule of b",
    ]
    assert cohort.describe_quality([]) == []


def test_a_model_without_calibration_is_not_called_good() -> None:
    assert cohort.describe_quality([("a.nii", Judged("not measured"))]) == [
        "quality control: 1 not measured",
        "  the model has no calibration; seg-prior calibrate makes one",
    ]
