"""Build the brain model of the package: a prior from label maps, and nothing else.

    python pipelines/build_brain_prior.py ../shared/data/brain_label_maps runs/brain

A quarter of an hour on two cores that multiply in bfloat16; run it again after a stop and it goes
on from the last saved step.
"""

import argparse
from pathlib import Path

from seg_prior.config import TrainPriorConfig
from seg_prior.stages import train_prior
from seg_prior.stages.settings import resolve

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "brain.yaml"


def main() -> None:
    """Train the prior; one that is there is not trained again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", type=Path, help="folder of label maps")
    parser.add_argument("out", type=Path, help="folder for the checkpoint and logs")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    out = given.out / "prior.safetensors"
    if not out.exists():
        request = {"labels": [given.labels], "threads": given.threads, "out": out}
        train_prior.run(resolve(TrainPriorConfig, given.config, request))


if __name__ == "__main__":
    main()
