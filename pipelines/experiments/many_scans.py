"""Scans that are empty files, and a stand-in for their reading: what a cohort costs beside it.

`python many_scans.py new|again SCANS OUT` is the whole command `segment`, in a process whose memory
is measured; the last line on standard error is the CPU seconds that the stand-in took of it.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from experiments.stopwatch import Cost, measure
from seg_prior.config.output import ScanConfig
from seg_prior.errors import ImageError
from seg_prior.files import sha256_of
from seg_prior.io.sidecar import GENERATED_BY
from seg_prior.io.tables import table_text
from seg_prior.output import layout

FLAGS = ("--report", "--wide", "--threads", "1", "-q")
ROOT = Path(__file__).resolve().parents[2]
_SHARES = {"PASS": 0.9, "WARN": 0.08, "FAIL": 0.02}
_DAMAGED = 1000  # of so many scans one cannot be read
_NUM_GAUSSIANS = 150  # make a sidecar as long as one of the brain, 9 kB
_NUM_LABELS = 35


def make_scans(folder: Path, num: int) -> None:
    """So many empty files, each of another participant."""
    folder.mkdir()
    for n in range(num):
        (folder / f"sub-{n:06d}_T1w.nii.gz").touch()


def table(numbers: Sequence[int], out: Path) -> Iterator[str]:
    """Of so many scans each: a command that does them all, and one that finds them done."""
    yield "| scans | command | CPU s | of these the stand-in | peak MB | report.html, MB |"
    yield "|---|---|---|---|---|---|"
    for num in numbers:
        scans, results = out / f"{num}_scans", out / f"{num}_results"
        make_scans(scans, num)
        for name in ("new", "again"):
            cost = run(name, scans, results)
            page_mb = (results / "report.html").stat().st_size / 1e6
            seconds = f"{cost.cpu_s:.1f} | {float(cost.message):.1f}"
            yield f"| {num} | {name} | {seconds} | {cost.peak_mb:.0f} | {page_mb:.1f} |"


def run(name: str, scans: Path, results: Path) -> Cost:
    """The command in a fresh process; scans that fail are part of it."""
    paths = f"PYTHONPATH={ROOT}:{ROOT / 'pipelines'}"
    cost = measure(["env", paths, sys.executable, __file__, name, str(scans), str(results)])
    if cost.code > 1:
        raise SystemExit(f"{name} {scans}: {cost.message}")
    return cost


def segment(scans: Path, results: Path, *flags: str) -> int:
    """The command, its reading replaced by a `StandIn`."""
    from seg_prior.cli.app import main

    with mock.patch("seg_prior.cohort.attempt.load", lambda config: StandIn(config.model)):
        return main(["segment", str(scans), str(results), *flags])


class StandIn:
    """In place of a `Segmenter`: draws what it writes of a scan.

    Attributes:
        cpu_s: That all of them have taken.
    """

    cpu_s = 0.0

    def __init__(self, model: Path) -> None:
        self.model = SimpleNamespace(sha256=sha256_of(model))

    def segment(self, image: Path, **_: Any) -> Any:
        """What is said of a scan, without its files."""
        start_s = time.process_time()
        number = int(image.name[4:10])
        if number % _DAMAGED == _DAMAGED // 2:
            raise ImageError(f"{image}: found no image in it, need one. Get it again.")
        draw = random.Random(number)
        (verdict,) = draw.choices(list(_SHARES), list(_SHARES.values()))
        found = SimpleNamespace(
            write=lambda *request: _write(image, verdict, draw, *request),
            seconds={},
            qc=SimpleNamespace(verdict=verdict, findings=()),
            remarks=(),
        )
        StandIn.cpu_s += time.process_time() - start_s
        return found


def _write(
    image: Path,
    verdict: str,
    draw: random.Random,
    target: Path,
    config: ScanConfig,
    request: dict[str, Any],
    _: bool,
) -> tuple[Path, ...]:
    """All files of a result: empty but for what tables are made of."""
    start_s = time.process_time()
    files = layout.files_of(target, config)
    for file in files.values():
        file.touch()
    larger = draw.lognormvariate(0.0, 0.2)
    rows = [
        (label, f"Structure-{label}", *[f"{larger * 50 * label:.1f}"] * 5, "false", "", verdict)
        for label in range(1, _NUM_LABELS + 1)
    ]
    files["volumes"].write_text(table_text(layout.VOLUME_COLUMNS, rows))
    findings = [{"verdict": verdict, "rule": "size", "text": "size 0.62, usual 0.81 to 1.24"}]
    about = {
        "source": str(image),
        "seconds": {"conform": draw.uniform(3, 9), "infer": draw.uniform(5, 12)},
        "quality": {
            "verdict": verdict,
            "findings": [] if verdict == "PASS" else findings * 3,
            "measures": {"volume_deviation": draw.lognormvariate(0.0, 0.3)},
        },
        "image": {"path": str(image), "sha256": request["image_sha256"]},
        "request": request,
        "files": {file.name: "0" * 64 for file in files.values()},
        "intensities": [{"tie": "white", "mean": [0.89], "var": [0.02]}] * _NUM_GAUSSIANS,
    }
    files["sidecar"].write_text(json.dumps(GENERATED_BY | about))
    StandIn.cpu_s += time.process_time() - start_s
    return tuple(files.values())


if __name__ == "__main__":
    _name, _scans, _results = sys.argv[1:]
    _code = segment(Path(_scans), Path(_results), *FLAGS)
    print(f"{StandIn.cpu_s:.2f}", file=sys.stderr)
    raise SystemExit(_code)
