"""Dask workers give what one process gives; who dies meanwhile loses nothing."""

import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seg_prior.cli.app import main
from tests.output.test_cohort import content, words

distributed = pytest.importorskip("distributed")
pytestmark = [  # sockets that Dask leaves to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
LOCKS = Path("/proc/locks")
PATIENCE_S = 120

SCHEDULER = """
from distributed import LocalCluster
if __name__ == "__main__":
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)
    print(cluster.scheduler_address, flush=True)
    input()
"""
# The script is read before this returns, since who submits removes it then.
SBATCH = """#!/bin/bash
script=$(cat "$1")
nohup bash -c "$script" > /dev/null 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/bash
kill "$1"
"""


@pytest.fixture(scope="module")
def scans(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four heads and a file that is none."""
    folder = tmp_path_factory.mktemp("scans")
    for image in phantom_folder.glob("*_phantom.nii.gz"):
        shutil.copy(image, folder)
    (folder / "sub-005_phantom.nii.gz").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def by_one(
    scans: Path, tiny_atlas: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What this process alone makes of them."""
    out = tmp_path_factory.mktemp("alone") / "results"
    assert main(words(scans, out, tiny_atlas, "--volumes")) == 1
    found = content(out)
    assert len([name for name in found if name.endswith("_dseg.nii.gz")]) == 4
    return found


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler with a worker."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
    ) as cluster:
        yield cluster.scheduler_address


def meanwhile(act: Callable[[], bool]) -> threading.Thread:
    """Try something again and again until it is done, beside what follows."""

    def attempt() -> None:
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s and not act():
            time.sleep(0.002)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.skipif(not LOCKS.exists(), reason="the kernel does not say who holds a lock")
def test_a_worker_that_is_killed_over_a_scan_loses_nothing(
    scans: Path, by_one: dict[str, Any], tiny_atlas: Path, tmp_path: Path
) -> None:
    out, killed = tmp_path / "results", []

    def kill_who_holds_a_scan() -> bool:
        inodes = {str(lock.stat().st_ino): lock.name for lock in out.glob(".*.lock")}
        for line in LOCKS.read_text().splitlines():
            _, _, _, _, pid, place, *_ = line.split()
            name = inodes.get(place.split(":")[-1])
            if name is not None and int(pid) != os.getpid():
                os.kill(int(pid), signal.SIGKILL)
                killed.append(name)
                return True
        return False

    thread = meanwhile(kill_who_holds_a_scan)
    assert main(words(scans, out, tiny_atlas, "--volumes", "--cluster", "local:2")) == 1
    thread.join()
    assert len(killed) == 1
    assert content(out) == by_one


@pytest.mark.slow
def test_a_scheduler_that_goes_away_leaves_what_is_finished(
    scans: Path,
    by_one: dict[str, Any],
    tiny_atlas: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, script = tmp_path / "results", tmp_path / "scheduler.py"
    script.write_text(SCHEDULER)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, script], stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdout is not None
        where = server.stdout.readline().strip()

        def kill_after_the_first() -> bool:
            if not list(out.glob("*_dseg.json")):
                return False
            server.kill()
            return True

        thread = meanwhile(kill_after_the_first)
        code = main(words(scans, out, tiny_atlas, "--volumes", "--cluster", where))
        thread.join()
    told = capsys.readouterr().err
    assert (code, "went away; what is finished stays" in told) == (2, True), told
    before = {path: path.stat().st_mtime_ns for path in out.glob("*_dseg.nii.gz")}
    assert 1 <= len(before) < 4
    assert main(words(scans, out, tiny_atlas, "--volumes")) == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert content(out) == by_one


def test_workers_of_another_version_do_nothing(
    address: str,
    scans: Path,
    tiny_atlas: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("seg_prior.cohort.cluster.__version__", "0.0.1")
    out = tmp_path / "results"
    assert main(words(scans, out, tiny_atlas, "--cluster", address)) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "found" in line)
    assert "need 0.0.1" in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("nonsense", "", "found 'nonsense', need local:N"),
        ("local:0", "", "found 'local:0', need local:N"),
        ("tcp://127.0.0.1:9", "", "found no scheduler at tcp://127.0.0.1:9"),
        ("none.yaml", "", "none.yaml: no such file"),
        ("a.yaml", "cores: 2", "a.yaml: jobs: "),
        ("a.yaml", "just words", "a.yaml: found no keys"),
        ("a.yaml", "jobs: 2\nmemory: much", "a.yaml: memory: found 'much'"),
        ("a.yaml", "jobs: 2\nnodes: 4", "Keys are kind, jobs, cores"),
        ("a.yaml", "jobs: 2\nkind: pbs", "a.yaml: found no command qsub"),
    ],
)
def test_a_cluster_that_is_none_is_told_in_one_line(
    name: str,
    text: str,
    told: str,
    scans: Path,
    tiny_atlas: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("seg_prior.cohort.cluster.CONNECT_S", 1)
    monkeypatch.setenv("PATH", str(tmp_path))
    if text:
        name = str(tmp_path / name)
        Path(name).write_text(text)
    out = tmp_path / "results"
    assert main(words(scans, out, tiny_atlas, "--cluster", name)) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "segment with" not in line)
    assert told in line
    assert not out.exists()


@pytest.mark.slow
def test_batch_jobs_are_workers(
    scans: Path,
    by_one: dict[str, Any],
    tiny_atlas: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through a `sbatch` that starts the job's script at once."""
    for command, script in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        path = tmp_path / command
        path.write_text(script)
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    file, out = tmp_path / "slurm.yaml", tmp_path / "results"
    file.write_text(json.dumps({"jobs": 1, "memory": "2GB", "prologue": ["export A=1"]}))
    assert main(words(scans, out, tiny_atlas, "--volumes", "--cluster", str(file))) == 1
    assert content(out) == by_one
