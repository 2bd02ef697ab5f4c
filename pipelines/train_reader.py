"""Teach a prior's image reader, which corrects f(z) by what it sees, on synthetic scans.

    python pipelines/train_reader.py ../shared/data/brain_label_maps runs/reader --minutes 120

First OUT/readings is filled with synthetic scans and what the prior makes of them, then the network
learns from patches of these. Run it again after a stop and it goes on; with more --minutes it goes
on from where it ended. The result is OUT/reader.safetensors: the prior, with the network. See
docs/reader.md.
"""

import argparse
import hashlib
import sys
from pathlib import Path

import torch

from experiments.reader import Patches, Sampling, take_off, train_reader
from experiments.readings import Spread, made_of, make_readings
from experiments.schooling import budget, without
from seg_prior.checkpoints.file import load_model, save_model
from seg_prior.checkpoints.provenance import provenance
from seg_prior.cli.settings import resolve
from seg_prior.cli.talk import talking
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.config.networks import ReaderConfig
from seg_prior.config.training import EncoderConfig
from seg_prior.errors import ConfigError, SegPriorError
from seg_prior.io.find import find_label_maps
from seg_prior.models.image_reader import ImageReader
from seg_prior.models.likelihood import intensity_classes

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "brain_encoder.yaml"
MINUTES = 120.0
HOLDOUT = ["sub-03", "sub-08", "sub-13", "sub-18"]
FLUID_IDS = (4, 5, 14, 15, 24, 43, 44)
"""Of ventricles and CSF."""


def main(arguments: list[str] | None = None) -> int:
    """Readings, then the network; 0 done, 2 the request was wrong."""
    given = _parser().parse_args(arguments)
    try:
        print(f"wrote {_train(given)}")
    except SegPriorError as error:
        print(f"train_reader: {error}", file=sys.stderr)
        return 2
    return 0


def _train(given: argparse.Namespace) -> Path:
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    maps = without(find_label_maps([given.labels]), given.holdout)
    config = resolve(EncoderConfig, given.config, {})
    spread = Spread(config.augment, config.synthesis, given.seed)
    folder = given.out / "readings"
    paths = make_readings(maps, given.prior, spread, folder, given.scans, given.workers)
    model = load_model(given.prior)
    classes = intensity_classes(model.header.label_table, model.header.intensity)
    table = model.header.label_table.written
    # A reader that is gone on from has seen the aged share of a first half.
    all_until = 0.0 if given.start is not None else Sampling.all_until
    sampling = Sampling(aged_kept=given.aged_kept, all_until=all_until, seed=given.seed + 1)
    patches = Patches(paths, model.location, classes, table, sampling)
    form = ReaderConfig(widths=tuple(given.widths))
    reader = ImageReader(patches.space.num_inputs, len(table), form)
    if given.start is not None:
        reader = load_model(given.start).image_reader or _refuse(given.start)
        reader.requires_grad_(True)
    request = f"{made_of(maps, given.prior, spread)} {given.scans} {sampling} {reader.config}"
    request = hashlib.sha256(f"{request} {given.start}".encode()).hexdigest()
    plan = budget(given.minutes, given.steps, MINUTES)
    steps = train_reader(reader, patches, plan, given.out, request)
    take_off(reader, table, FLUID_IDS, given.fluid_bias)
    made = provenance() | {"steps": steps, "num_maps": len(maps), "num_scans": len(paths)}
    header = model.header.model_copy(
        update={
            "reader": reader.config,
            "calibration": None,  # of the prior without it
            "provenance": model.header.provenance | {"train-reader": made},
        }
    )
    out: Path = given.out / "reader.safetensors"
    save_model(out, header, model.prior, model.image_encoder, model.locator, reader)
    return out


def _refuse(path: Path) -> ImageReader:
    raise ConfigError(f"{path}: found no image reader to go on from, need one. Leave out --start.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", type=Path, help="folder of label maps")
    parser.add_argument("out", type=Path, help="folder for readings, state, log and checkpoint")
    parser.add_argument("--prior", type=Path, default=BRAIN_MODEL, help="checkpoint that reads")
    parser.add_argument("--start", type=Path, help="checkpoint whose reader is gone on from")
    parser.add_argument("--config", type=Path, default=CONFIG, help="augment and synthesis")
    parser.add_argument("--holdout", nargs="*", default=HOLDOUT, help="subjects kept out")
    parser.add_argument("--scans", type=int, default=300, help="synthetic scans to learn from")
    parser.add_argument("--workers", type=int, default=0, help="processes that make them")
    parser.add_argument("--minutes", type=float, help="of training; 120 if there are no --steps")
    parser.add_argument("--steps", type=int, help="of training, at most")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--aged-kept", type=float, default=0.36, help="share, in the second half of training"
    )
    parser.add_argument("--widths", type=int, nargs=4, default=[32, 64, 96, 128])
    parser.add_argument(
        "--fluid-bias", type=float, default=0.0, help="nats off ventricles and CSF at the end"
    )
    return parser


if __name__ == "__main__":
    with talking():
        sys.exit(main())
