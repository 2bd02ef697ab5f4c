"""What segmenting costs: a profile, pairs against another checkout, size of scans, processes.

    OMP_NUM_THREADS=1 python pipelines/cost.py scan.nii.gz
    ... --against ../seg-prior-855accc --pairs 5    # another checkout, one run after the other
    ... --voxels 1 3 10 30 100 300 --plot cost.svg  # millions: the scan, resampled
    ... --cohort scans/                             # by one process and by two
    python pipelines/cost.py --many 1000 100000     # empty scans, a stand-in for their reading

CPU seconds are user plus system of all processes, so that other work on the machine hardly counts.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

from experiments.cost import against, by_voxels, draw, processes, profile
from experiments.many_scans import table

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Print the tables that are asked for; always the profile."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scan", type=Path, nargs="?")
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--voxels", type=float, nargs="+", default=[], help="in millions")
    parser.add_argument("--plot", type=Path, help="an .svg of the cost of --voxels")
    parser.add_argument("--cohort", type=Path, help="a folder of scans")
    parser.add_argument("--many", type=int, nargs="+", default=[], help="numbers of empty scans")
    given = parser.parse_args()
    if given.scan is None and not given.many:
        parser.error("need a scan, or --many")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        _print(table(given.many, out) if given.many else ())
        if given.scan is None:
            return
        _print(profile(given.scan, out))
        if given.against:
            _print(against(given.scan, given.against, ROOT, given.pairs, out))
        if given.voxels:
            sizes = by_voxels(given.scan, given.voxels, ROOT, out)
            print("| million voxels | CPU s | peak MB |\n|---|---|---|")
            _print(size.row for size in sizes)
            if given.plot:
                draw(sizes, given.plot)
        if given.cohort:
            _print(processes(given.cohort, ROOT, out))


def _print(rows: Iterable[str]) -> None:
    """Each as soon as it is there."""
    for row in rows:
        print(row, flush=True)


if __name__ == "__main__":
    main()
