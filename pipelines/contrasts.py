"""Whether contrasts agree, and whether several together are worth more than one.

    python pipelines/contrasts.py ../shared/data

Prints mean17 of T2w, FLAIR and all three against T1w of the patient in brain_multicontrast, then
mean17 of label maps, deformed and painted in three contrasts, read one by one and together. The
model in the package has seen these maps undeformed.
"""

import argparse
from pathlib import Path

import torch

from seg_prior import Segmenter
from seg_prior.commands.calibrate import Config as CalibrateConfig
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.config.synthesis import AugmentConfig
from seg_prior.core.grid import Grid
from seg_prior.core.volume import Volume
from seg_prior.evaluation.dice_table import dice_of_structures, mean_dice, mean_sd_n
from seg_prior.inference.predictor import typical_intensities
from seg_prior.io.nifti import read_label_map, read_volume
from seg_prior.synthesis.anatomies import generator_of, sample_labels
from seg_prior.synthesis.deformation import random_affine, random_warp
from seg_prior.synthesis.render import render
from seg_prior.synthesis.scan import (
    CONTRASTS,
    as_scanned,
    centered,
    shade,
)

MAPS = ("01", "03", "06", "09", "13", "18")
PAINT = CalibrateConfig.model_fields["paint"].default
TOGETHER, BEST = "the three together", "the best of the three"


def main() -> None:
    """The patient, then the painted scans."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, default=BRAIN_MODEL)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    segmenter = Segmenter.load(given.model, threads=given.threads)
    agree(segmenter, given.data / "brain_multicontrast")
    rows: dict[str, list[float]] = {name: [] for name in (*CONTRASTS, BEST, TOGETHER)}
    for seed, name in enumerate(MAPS):
        path = given.data / "brain_label_maps" / f"sub-{name}_dseg.nii.gz"
        for read_from, dice in score_painted(segmenter, path, seed).items():
            rows[read_from].append(dice)
    for read_from, values in rows.items():
        told = " ".join(f"{value:.3f}" for value in values)
        print(f"| {read_from} | {mean_sd_n(values)} | {told} |", flush=True)


def agree(segmenter: Segmenter, folder: Path) -> None:
    """Each contrast of one patient against T1w."""
    table = segmenter.label_table
    names = ("T1w", "T2w", "FLAIR")
    scans = {name: read_volume(folder / f"sub-ms07_{name}.nii.gz") for name in names}
    read = {name: segmenter.segment(scan) for name, scan in scans.items()}
    read[TOGETHER] = segmenter.segment(scans["T1w"], contrasts=(scans["T2w"], scans["FLAIR"]))
    known = table.remap(read.pop("T1w").label_map, "T1w")
    for name, result in read.items():
        dice = dice_of_structures(table.remap(result.label_map, name), known, table)
        print(f"| {name} | {mean_dice(dice, table):.3f} |", flush=True)


def score_painted(segmenter: Segmenter, path: Path, seed: int) -> dict[str, float]:
    """mean17 of one stripped anatomy, by what it was read from."""
    table, source, generator = segmenter.label_table, read_label_map(path), generator_of(seed, 0)
    indices = torch.from_numpy(table.remap(source.data, source.source))
    head, spread = centered(indices, source.grid), AugmentConfig()
    grid = Grid(source.grid.shape, head.prior_from_native @ source.grid.affine)
    warp = random_warp(grid.shape, 1.0, spread, generator)
    moved = sample_labels(head, grid, random_affine(spread, generator), warp)
    typical = torch.from_numpy(typical_intensities(segmenter.model))
    volumes = []
    for contrast in CONTRASTS:
        mean = shade(typical, contrast, generator)
        image, in_view = render(moved.long(), moved > 0, mean, PAINT, generator)
        volumes.append(Volume(as_scanned(image, in_view), grid, source=contrast))
    known = moved.numpy()

    def score(first: Volume, *further: Volume) -> float:
        found = table.remap(segmenter.segment(first, contrasts=further).label_map, "painted")
        return mean_dice(dice_of_structures(found, known, table), table)

    alone = {volume.source: score(volume) for volume in volumes}
    return alone | {BEST: max(alone.values()), TOGETHER: score(*volumes)}


if __name__ == "__main__":
    main()
