"""Build the brain model: a prior from label maps, then an encoder from images painted of them.

    python pipelines/build_brain_prior.py ../shared/data/brain_label_maps runs/brain

Two hours on two cores; run it again after a stop and it goes on from the last saved step.
"""

import argparse
from pathlib import Path

from seg_prior.config import TrainEncoderConfig, TrainPriorConfig
from seg_prior.stages import train_encoder, train_prior
from seg_prior.stages.settings import resolve

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def main() -> None:
    """Both stages, one after the other; a stage whose checkpoint is there is not repeated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labels", type=Path, help="folder of label maps")
    parser.add_argument("out", type=Path, help="folder for checkpoints and logs")
    parser.add_argument("--config", type=Path, default=CONFIGS / "brain.yaml")
    parser.add_argument("--encoder-config", type=Path, default=CONFIGS / "brain_encoder.yaml")
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    common = {"labels": [given.labels], "threads": given.threads}

    prior = given.out / "prior.safetensors"
    if not prior.exists():
        train_prior.run(resolve(TrainPriorConfig, given.config, common | {"out": prior}))
    model = given.out / "model.safetensors"
    if not model.exists():
        own = {"prior": prior, "out": model}
        train_encoder.run(resolve(TrainEncoderConfig, given.encoder_config, common | own))


if __name__ == "__main__":
    main()
