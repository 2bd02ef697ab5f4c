"""Teach a model that exists how its numbers go together in label maps, so that it draws anatomy.

    python pipelines/add_draws.py MODEL LABELS OUT

OUT is MODEL with the field and the flow that `sample` draws coarse part and detail with, and the
repulsion of labels that seldom touch, and bit for bit the same in all else; `train-prior` teaches
them by itself, so this is for models of before.
With `--steps 0` a flow that MODEL has stays as it is. The state of a flow lies in the folder OUT
without its suffix; run it again after a stop and it goes on.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from seg_prior.checkpoints.file import Model, load_model, write_draws
from seg_prior.checkpoints.request import Request
from seg_prior.cli.talk import talking
from seg_prior.config.runtime import RuntimeConfig
from seg_prior.config.training import PriorConfig
from seg_prior.core.device import start
from seg_prior.core.grid import MIRROR
from seg_prior.files import sha256_of
from seg_prior.io.find import find_label_maps, participant_of
from seg_prior.models.label_vae import LabelVAE
from seg_prior.synthesis.anatomies import sample_labels
from seg_prior.training.align import align_label_maps
from seg_prior.training.draws import fit_draws
from seg_prior.training.loop import Run, forget
from seg_prior.training.neighbours import fit_neighbours


def main() -> None:
    """Align the maps to the model, learn field and flow, write all together."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("labels", type=Path, help="the label maps that taught the model")
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--steps", type=int, default=PriorConfig.model_fields["detail_steps"].default
    )
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    device = start(RuntimeConfig(seed=given.seed, threads=1))
    model = load_model(given.model, kinds=("ae", "vae", "swae"))
    prior = model.prior.to(device)
    assert isinstance(prior, LabelVAE)
    paths = find_label_maps([given.labels])
    asked = {"steps": given.steps, "seed": given.seed}
    inputs = tuple((path, sha256_of(path)) for path in [given.model, *paths])
    run = Run(given.out.with_suffix(""), device, Request(asked, inputs))
    people = [participant_of(path) for path in paths]
    if model.header.label_table.has_sides:
        people = [person for person in people for _ in range(2)]
    maps = list(views(paths, model))
    fit_draws(prior, maps, people, given.steps, given.seed, run)
    fit_neighbours(prior.cpu(), maps, given.seed)
    write_draws(given.model, given.out, prior)
    forget(run.folder)


def views(paths: Sequence[Path], model: Model) -> Iterator[Tensor]:
    """(V,) label indices of each map, and of its mirror image where there are sides."""
    table, grid, voxels = model.header.label_table, model.header.grid, model.location.voxels.cpu()
    partner = torch.from_numpy(table.partner).to(torch.uint8)
    for label_map in align_label_maps(paths, model):
        yield sample_labels(label_map, grid).flatten()[voxels]
        if table.has_sides:
            mirrored = sample_labels(label_map, grid, torch.from_numpy(MIRROR))
            yield partner[mirrored.flatten()[voxels].long()]


if __name__ == "__main__":
    with talking():
        main()
