"""Build the brain model of the package: a prior from label maps, calibrated on painted ones.

    python pipelines/build_brain_prior.py ../shared/data/brain_label_maps runs/brain

Half an hour on two cores that multiply in bfloat16; run it again after a stop and it goes on from
the last saved step or the last painted scan.
"""

import argparse
from pathlib import Path

from seg_prior.checkpoints.header import read_header
from seg_prior.cli.settings import resolve
from seg_prior.cli.talk import talking
from seg_prior.commands import calibrate, train_prior
from seg_prior.commands.calibrate import Config as CalibrateConfig
from seg_prior.commands.train_prior import Config as TrainPriorConfig

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "brain.yaml"


def main() -> None:
    """Train the prior and calibrate it; what is there is not made again."""
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
    if read_header(out).calibration is None:
        calibrate.run(CalibrateConfig(model=out, labels=[given.labels], threads=given.threads))


if __name__ == "__main__":
    with talking():
        main()
