"""From a folder of label maps and unlabelled images to models, segmentations and a page.

    python pipelines/adapt_to_dataset.py --config configs/mouse.yaml

Data sets lie in the folder that SEG_PRIOR_DATA names, or in ../shared/data. What exists is kept:
run it again after a stop and it goes on. The page is OUT/report.md; --page puts the tables on
another page too.
"""

import argparse
import os
import sys
from pathlib import Path

from experiments import (
    adapt,
    benchmark_page,
    dataset,
    scoring,
)
from experiments.config import AdaptConfig
from seg_prior.cli.settings import resolve
from seg_prior.cli.talk import talking
from seg_prior.errors import SegPriorError

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """From data to page; 0 done, 1 some scans failed, 2 the request was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--page", type=Path, help="a further page for the tables")
    given = parser.parse_args()
    data = Path(os.environ.get("SEG_PRIOR_DATA", ROOT.parent / "shared" / "data"))
    try:
        config = resolve(AdaptConfig, given.config, {"data": data})
        files = dataset.prepare(config)
        report = adapt.look(config, files)
        adapt.train(config, files, report)
        adapt.introduce(config, report)
        asked = adapt.benchmark_of(config, files, report)
        cells = scoring.run(asked.datasets[0], asked)
        note = scoring.note(asked.datasets[0], asked, cells)
        pages = [asked.page, *([given.page.resolve()] if given.page else [])]
        for page in pages:
            to_page = asked.model_copy(update={"page": page})
            benchmark_page.write(asked.datasets[0], cells, to_page, note)
            print(f"wrote {page}")
    except SegPriorError as error:
        print(f"adapt_to_dataset: {error}", file=sys.stderr)
        return 2
    return 1 if any(cell.error for cell in cells) else 0


if __name__ == "__main__":
    with talking():
        sys.exit(main())
