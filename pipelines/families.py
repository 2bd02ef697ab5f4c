"""Every family of priors, with every density of z, on one data set: the table of docs/families.md.

    python pipelines/families.py --config configs/families.yaml

Data sets lie in the folder that SEG_PRIOR_DATA names, or in ../shared/data. Subjects are dealt as
`seg-prior adapt` deals them: some teach the priors, and the scored ones, whom no prior has
seen, are measured. What exists is kept: run it again after a stop and it goes on.
"""

import argparse
import os
from pathlib import Path

from experiments import families
from seg_prior.cli.settings import resolve
from seg_prior.cli.talk import talking
from seg_prior.commands import adapt
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
    config = resolve(adapt.Config, given.config, {"data": data})
    files = adapt.prepare(config)
    report = adapt.look(config)
    minutes = families.train(config, files, report)
    for kind in minutes:
        families.give_densities(config, files, report, kind)
    cells = [families.score(config, files, model) for model in families.models(config)]
    table = families.table(cells, minutes)
    write_text(config.out / "families.md", table)
    print(table)


if __name__ == "__main__":
    with talking():
        main()
