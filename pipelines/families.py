"""Every family of priors, with every density of z, on one data set: a table of docs/families.md.

    python pipelines/families.py --config configs/families_brain.yaml

Data sets lie in the folder that SEG_PRIOR_DATA names, or in ../shared/data. What exists is kept:
run it again after a stop and it goes on. `plausibility.py` measures draws of its checkpoints.
"""

import argparse
import os
from pathlib import Path

from experiments import families
from experiments.config import FamiliesConfig
from seg_prior.cli.settings import resolve
from seg_prior.cli.talk import talking
from seg_prior.files import write_text

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Train what is missing, measure what is missing, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True)
    given = parser.parse_args()
    data = Path(os.environ.get("SEG_PRIOR_DATA", ROOT.parent / "shared" / "data"))
    config = resolve(FamiliesConfig, given.config, {"data": data})
    minutes = families.train(config)
    families.give_densities(config)
    cells = [families.score(config, model) for model in families.models(config)]
    table = families.table(cells, minutes)
    write_text(config.out / "families.md", table)
    print(table)


if __name__ == "__main__":
    with talking():
        main()
