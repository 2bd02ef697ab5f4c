"""Teach a prior the network that finds its organ in any view of it, on synthetic scans.

    python pipelines/train_finder.py ../shared/data/brain_label_maps runs/finder --minutes 60

Run it again after a stop and it goes on; with more --minutes it goes on from where it ended. The
result is OUT/finder.safetensors: the prior, with the network. See docs/reader.md.
"""

import argparse
import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import torch

from experiments.finder import Views, train_finder
from experiments.readings import Spread, made_of
from experiments.schooling import budget, without
from seg_prior.checkpoints.file import load_model, save_model
from seg_prior.checkpoints.provenance import provenance
from seg_prior.cli.settings import resolve
from seg_prior.cli.talk import talking
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.config.networks import LocatorConfig
from seg_prior.config.training import EncoderConfig
from seg_prior.errors import SegPriorError
from seg_prior.io.find import find_label_maps
from seg_prior.models.locator import Locator

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "brain_encoder.yaml"
MINUTES = 60.0
HOLDOUT = ["sub-03", "sub-08", "sub-13", "sub-18"]
SPACING_MM = 4.0


def main(arguments: list[str] | None = None) -> int:
    """The network; 0 done, 2 the request was wrong."""
    given = _parser().parse_args(arguments)
    try:
        print(f"wrote {_train(given)}")
    except SegPriorError as error:
        print(f"train_finder: {error}", file=sys.stderr)
        return 2
    return 0


def _train(given: argparse.Namespace) -> Path:
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    maps = without(find_label_maps([given.labels]), given.holdout)
    config = resolve(EncoderConfig, given.config, {})
    spread = Spread(config.augment, config.synthesis, given.seed)
    model = load_model(given.prior)
    form = LocatorConfig(spacing_mm=SPACING_MM, widths=tuple(given.widths))
    locator = Locator(len(model.header.label_table.written), form)
    request = f"{made_of(maps, given.prior, spread)} {form}"
    request = hashlib.sha256(request.encode()).hexdigest()
    views = Views.of(maps, model, spread, SPACING_MM)
    plan = budget(given.minutes, given.steps, MINUTES)
    plan = replace(plan, learning_rate=2e-3, warmup_steps=50, save_every=100)
    steps = train_finder(locator, views, plan, given.out, request)
    made = provenance() | {"steps": steps, "num_maps": len(maps)}
    # Without a pose prior, so that it is a finder: see `inference.finder`.
    header = model.header.model_copy(
        update={
            "locator": form,
            "pose_prior": None,
            "provenance": model.header.provenance | {"train-finder": made},
        }
    )
    out: Path = given.out / "finder.safetensors"
    save_model(out, header, model.prior, model.image_encoder, locator, model.image_reader)
    return out


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", type=Path, help="folder of label maps")
    parser.add_argument("out", type=Path, help="folder for state, log and checkpoint")
    parser.add_argument("--prior", type=Path, default=BRAIN_MODEL, help="checkpoint to add it to")
    parser.add_argument("--config", type=Path, default=CONFIG, help="synthesis")
    parser.add_argument("--holdout", nargs="*", default=HOLDOUT, help="subjects kept out")
    parser.add_argument("--minutes", type=float, help="of training; 60 if there are no --steps")
    parser.add_argument("--steps", type=int, help="of training, at most")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--widths", type=int, nargs=3, default=[32, 64, 96])
    return parser


if __name__ == "__main__":
    with talking():
        sys.exit(main())
