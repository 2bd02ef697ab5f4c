"""Score every method on every data set and write the page of results.

    python pipelines/benchmark.py --config configs/benchmark.yaml

Every scan and method is measured once, in a process of its own; run it again after a stop and it
goes on. Data sets lie in the folder that SEG_PRIOR_DATA names, or in ../shared/data.
"""

import argparse
import os
import sys
from pathlib import Path

from experiments import benchmark, benchmark_page
from experiments.config import BenchmarkConfig
from seg_prior.cli.settings import resolve
from seg_prior.cli.talk import talking
from seg_prior.errors import SegPriorError

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """One data set after the other; 0 done, 1 some scans failed, 2 the request was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "benchmark.yaml")
    given = parser.parse_args()
    data = Path(os.environ.get("SEG_PRIOR_DATA", ROOT.parent / "shared" / "data"))
    num_failed = 0
    try:
        config = resolve(BenchmarkConfig, given.config, {"data": data})
        for dataset in config.datasets:
            cells = benchmark.run(dataset, config)
            print(benchmark_page.write(dataset, cells, config))
            num_failed += sum(bool(cell.error) for cell in cells)
    except SegPriorError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    print(f"wrote {config.page}")
    return 1 if num_failed else 0


if __name__ == "__main__":
    with talking():
        sys.exit(main())
