"""Files made wrong on purpose, by seeded mutation: what each kind of them comes to.

OMP_NUM_THREADS=1 python pipelines/hostile.py --num 1000 --out hostile/
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from experiments.hostile import campaign, table


def main() -> int:
    """Run the campaign, print its table; 0 where no file was at fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    verdicts = campaign(given.num, given.seed, given.out)
    print("\n".join(table(verdicts)))
    faults = [verdict._asdict() for verdict in verdicts if verdict.faults]
    (given.out / "faults.json").write_text(json.dumps(faults, indent=1) + "\n")
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
