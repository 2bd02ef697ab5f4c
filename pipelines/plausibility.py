"""How much draws of a model look like label maps: the table of docs/draws.md.

    python pipelines/plausibility.py --model seg_prior/weights/brain.safetensors \\
        --labels ../shared/data/brain_label_maps --out runs/plausibility/brain

Draws of the model as `sample` makes them, with the likeliest label of every voxel alone, of its
coarse part alone, and with the detail of every cell drawn alone, against label maps in its frame.
A model may be given more than once, each with a row for what `sample` makes of it. Draws are kept
in OUT; run it again after a stop and it goes on.
"""

import argparse
import logging
from collections.abc import Callable
from dataclasses import astuple, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.plausibility import Likeness, compare, nearest_dice, shape_of
from experiments.tell_apart import accuracy
from seg_prior.checkpoints.file import Model, load_model
from seg_prior.cli.talk import talking
from seg_prior.commands.sample import decode_label_map
from seg_prior.core.progress import progress
from seg_prior.evaluation.dice_table import mean_sd_n
from seg_prior.files import atomic_write
from seg_prior.io.find import find_label_maps
from seg_prior.models.prior import Prior
from seg_prior.synthesis.anatomies import sample_labels
from seg_prior.training.align import align_label_maps

Indices = NDArray[np.uint8]
Draw = Callable[[torch.Generator], Indices]
NUM_SPLITS = 3
log = logging.getLogger("seg_prior.pipelines")


def main() -> None:
    """Draw what is missing, measure, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, action="append", required=True)
    parser.add_argument("--labels", type=Path, required=True, help="label maps to compare with")
    parser.add_argument("--taught", type=Path, help="label maps that taught the model, if others")
    parser.add_argument("--out", type=Path, required=True, help="folder of draws")
    parser.add_argument("--num", type=int, default=50)
    given = parser.parse_args()
    torch.set_num_threads(1)
    models = [load_model(path, kinds=("pca", "ae", "vae", "swae")) for path in given.model]
    maps = aligned(given.labels, models[0], given.out / "maps.npy")
    taught = aligned(given.taught, models[0], given.out / "taught.npy") if given.taught else maps
    rows = {"label maps": maps}
    for path, model in zip(given.model, models, strict=True):
        for name, draw in ways(model, is_first=model is models[0]).items():
            folder = given.out / path.stem / name.replace(" ", "_")
            rows[f"{path.stem}: {name}"] = drawn(draw, given.num, folder)
    print_table(models[0], rows, maps, taught)


def ways(model: Model, is_first: bool) -> dict[str, Draw]:
    """How anatomies are drawn; of a first model also without what makes them agree."""
    prior = model.prior

    def whole(generator: torch.Generator, is_coarse: bool = False) -> Indices:
        return prior.labels_of(prior.sample(generator, is_coarse)).numpy()

    found: dict[str, Draw] = {"sample": whole}
    if is_first and prior.neighbours is not None:
        found["voxels alone"] = lambda generator: decode_label_map(model, prior.sample(generator))
    if is_first and prior.num_coarse < prior.num_latents:
        found["coarse"] = partial(whole, is_coarse=True)
        found["cells alone"] = lambda generator: decode_label_map(
            model, Prior.sample(prior, generator)
        )
    return found


def drawn(draw: Draw, num: int, folder: Path) -> list[Indices]:
    """Label indices of so many draws; number n is a function of n alone."""
    found = []
    for n in progress(range(num), log, f"draws for {folder}", total=num):
        file = folder / f"{n:03d}.npy"
        if not file.is_file():
            save(file, draw(torch.Generator().manual_seed(n)))
        found.append(np.load(file))
    return found


def aligned(labels: Path, model: Model, file: Path) -> list[Indices]:
    """Label indices of label maps on the model's grid, as it would write them."""
    if not file.is_file():
        maps = align_label_maps(find_label_maps([labels]), model)
        written = model.location.group_of_label.numpy().astype(np.uint8)
        save(file, np.stack([written[sample_labels(m, model.header.grid)] for m in maps]))
    return list(np.load(file))


def save(file: Path, array: Indices) -> None:
    """One array, whole or not at all."""
    with atomic_write(file) as temporary, temporary.open("wb") as stream:
        np.save(stream, array)


def print_table(
    model: Model, rows: dict[str, list[Indices]], maps: list[Indices], taught: list[Indices]
) -> None:
    """One row for each way to draw, and one for the maps: their halves, one against the other."""
    table = model.header.label_table.written
    structures = np.flatnonzero(table.is_structure).tolist()
    measure = partial(
        shape_of,
        num_labels=len(table),
        structures=structures,
        voxel_mm3=model.header.grid.voxel_volume_mm3,
    )
    known = [measure(label_map) for label_map in maps]
    names = [field.name.replace("_", " ") for field in fields(Likeness)]
    print("| drawn | n | " + " | ".join([*names, "told apart", "nearest Dice"]) + " |")
    print("|---" * (len(names) + 4) + "|")
    for name, group in rows.items():
        is_maps = group is maps
        like = (
            compare(known[::2], known[1::2])
            if is_maps
            else compare([measure(g) for g in group], known)
        )
        kinds = (group[::2], group[1::2]) if is_maps else (group, maps)
        told = mean_sd_n(accuracy(*kinds, len(table), seed) for seed in range(NUM_SPLITS))
        nearest = mean_sd_n(
            nearest_dice(one, [t for t in taught if t is not one], structures) for one in group
        )
        figures = [f"{value:.3f}" for value in astuple(like)]
        print(
            f"| {name} | {len(group)} | " + " | ".join([*figures, told, nearest]) + " |", flush=True
        )


if __name__ == "__main__":
    with talking():
        main()
