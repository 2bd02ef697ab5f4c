"""Build the brain model of the package from label maps alone: prior, reader, locator, calibration.

    python pipelines/build_brain_prior.py ../shared/data/brain_label_maps runs/brain

Hours on two cores that multiply in bfloat16, most of them the reader's; run it again after a stop
and it goes on from the last saved step or the last synthetic scan. See docs/reader.md.
"""

import argparse
from pathlib import Path
from typing import Any

from seg_prior.cli.settings import resolve
from seg_prior.cli.talk import talking
from seg_prior.commands import calibrate, train_encoder, train_locator, train_prior
from seg_prior.commands.calibrate import Config as CalibrateConfig
from seg_prior.commands.train_encoder import Config as TrainEncoderConfig
from seg_prior.commands.train_locator import Config as TrainLocatorConfig
from seg_prior.commands.train_prior import Config as TrainPriorConfig

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
HOLDOUT = ["sub-03", "sub-08", "sub-13", "sub-18"]
"""Of reader and locator, to see how they do on anatomies that they have not seen."""


def main() -> None:
    """Train what is missing, one after the other, and calibrate the last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", type=Path, help="folder of label maps")
    parser.add_argument("out", type=Path, help="folder for checkpoints and logs")
    parser.add_argument("--workers", type=int, default=2, help="that make synthetic scans")
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    common: dict[str, Any] = {"labels": [given.labels], "threads": given.threads}
    prior, read, found = (given.out / f"{name}.safetensors" for name in ("prior", "read", "brain"))
    train_prior.run(resolve(TrainPriorConfig, CONFIGS / "brain.yaml", common | {"out": prior}))
    asked = {"prior": prior, "out": read, "holdout": HOLDOUT, "workers": given.workers}
    encoder = resolve(TrainEncoderConfig, CONFIGS / "brain_encoder.yaml", common | asked)
    train_encoder.run(encoder)
    asked = {
        "prior": read,
        "out": found,
        "holdout": HOLDOUT,
        "spacing_mm": 4.0,
        "synthesis": encoder.synthesis.model_dump(),
    }
    train_locator.run(resolve(TrainLocatorConfig, None, common | asked))
    settings = resolve(
        CalibrateConfig, CONFIGS / "brain_calibration.yaml", common | {"model": found}
    )
    calibrate.run(settings)


if __name__ == "__main__":
    with talking():
        main()
