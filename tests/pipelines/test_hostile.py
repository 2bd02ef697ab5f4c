"""A short campaign of files made wrong on purpose, and that the campaign would see a fault."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.hostile import TIME_S, Ran, judge
from experiments.hostile_files import KINDS, make

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_hundred_hostile_files_are_refused_in_one_line_or_read(tmp_path: Path) -> None:
    out = tmp_path / "hostile"
    ran = subprocess.run(
        [sys.executable, "pipelines/hostile.py", "--num", "100", "--out", out],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads((out / "faults.json").read_text()) == []
    rows = [line.split(" | ") for line in ran.stdout.splitlines()[2:]]
    assert {row[0].strip("| "): int(row[1]) for row in rows} == dict.fromkeys(KINDS, 20)
    refused = sum(int(row[2]) for row in rows)
    assert refused > 60  # most are told from sound ones


def test_the_same_number_is_the_same_file(tmp_path: Path) -> None:
    for name in KINDS["table"]:
        (tmp_path / name).write_text("id\tname\n1\ta\n2\tb\n")
    places = [tmp_path / name for name in "ab"]
    for place in places:
        place.mkdir()
    one, same = (make("table", 7, 0, tmp_path, place).read_bytes() for place in places)
    other = make("table", 8, 0, tmp_path, places[0]).read_bytes()
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("ran", "fault"),
    [
        (Ran(97, "Traceback (most recent call last): f.nii", 1, 0), "traceback"),
        (Ran(None, "", TIME_S + 1, 0), "hang"),
        (Ran(None, "", 1, 0), "killed"),
        (Ran(2, "f.nii: one\ntwo\n", 1, 0), "2 lines"),
        (Ran(2, "another: found\n", 1, 0), "file not named"),
        (Ran(2, "f.nii: found\n", 1, 3e9), "memory"),
        (Ran(5, "f.nii: found\n", 1, 0), "code 5"),
    ],
)
def test_a_fault_is_seen(tmp_path: Path, ran: Ran, fault: str) -> None:
    assert fault in judge(ran, Path("f.nii"), tmp_path)
    assert judge(Ran(2, "f.nii: found\n", 1, 0), Path("f.nii"), tmp_path) == ()
    (tmp_path / ".1-half").write_text("x")
    assert judge(Ran(2, "f.nii: found\n", 1, 0), Path("f.nii"), tmp_path) == ("half files",)
