"""Many scans, empty and with a stand-in for their reading: laws, not seconds."""

import io
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from experiments.many_scans import make_scans, segment
from seg_prior.config.output import OutputOptions
from seg_prior.output.cohort_tables import write_tables

NUM = 100
ALL = OutputOptions(report=True, wide=True)
FLAGS = ("--report", "--device", "cpu", "--threads", "1", "-q")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, tiny_atlas: Path) -> tuple[Path, Path]:
    """Two folders of results, one of them of twice as many scans; beside them the scans."""
    folder = tmp_path_factory.mktemp("many")
    for num in (NUM, 2 * NUM):
        make_scans(folder / f"{num}_scans", num)
        words = ("--model", str(tiny_atlas), *FLAGS)
        assert segment(folder / f"{num}_scans", folder / f"{num}", *words) == 0
    return folder / f"{NUM}", folder / f"{2 * NUM}"


@pytest.fixture(autouse=True)
def no_chart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size is bounded, and it takes longer than all else."""
    monkeypatch.setattr("seg_prior.report.cohort_page.volume_chart", lambda *_: "")


@pytest.fixture
def num_reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was read."""
    count: Counter[str] = Counter()
    open_file = io.open

    def open_counted(file: object, mode: str = "r", *given: object, **named: object) -> object:
        count[Path(str(file)).name] += not set("wax") & set(mode)
        return open_file(file, mode, *given, **named)  # type: ignore[call-overload]

    monkeypatch.setattr("io.open", open_counted)
    monkeypatch.setattr("builtins.open", open_counted)
    return count


def test_tables_read_each_file_of_a_scan_once(
    results: tuple[Path, Path], num_reads: Counter[str]
) -> None:
    write_tables(results[0], ALL)
    of_scans = {name: num for name, num in num_reads.items() if name.startswith("sub-")}
    assert len(of_scans) == 2 * NUM  # a sidecar and a table
    assert set(of_scans.values()) == {1}


def test_tables_keep_less_of_a_scan_than_its_sidecar(results: tuple[Path, Path]) -> None:
    peaks = []
    for folder in (results[0], *results):  # the first time, for what is imported
        tracemalloc.start()
        write_tables(folder, ALL)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    _, fewer, more = peaks
    [sidecar, *_] = results[0].glob("*_dseg.json")
    assert (more - fewer) / NUM < 1500 < sidecar.stat().st_size / 3


def test_resuming_reads_a_scan_once_and_its_sidecar_twice(
    results: tuple[Path, Path], tiny_atlas: Path, num_reads: Counter[str]
) -> None:
    folder = results[0]
    words = ("--model", str(tiny_atlas), *FLAGS)
    assert segment(folder.with_name(f"{NUM}_scans"), folder, *words) == 0
    for end, wanted in (("_T1w.nii.gz", 1), ("_dseg.json", 2), ("_volumes.tsv", 1)):
        of_scans = [num for name, num in num_reads.items() if name.endswith(end)]
        assert of_scans == [wanted] * NUM
