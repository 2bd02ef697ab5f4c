"""Whole heads against stripped ones: synthetic scans, with and without what surrounds the brain.

    python pipelines/whole_heads.py seg_prior/weights/brain.safetensors MAPS/sub-01_dseg.nii.gz ...

The label maps must hold extra-cerebral ids, which results have as background; where they have
taught the model, mean17 flatters it, and what is seen is whether a head is lost. Each of those ids
gets an intensity of its own; the brain looks like T1w. Each head lies in a pose of its own: turned,
shifted, its axes in any order and direction. Prints mean17 of both for each map.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.alter import move
from seg_prior import Segmenter
from seg_prior.config.synthesis import AugmentConfig, SynthesisConfig
from seg_prior.core.grid import Grid
from seg_prior.core.volume import Volume
from seg_prior.evaluation.dice_table import dice_of_structures, mean_dice
from seg_prior.synthesis.ageing import sample_anatomy
from seg_prior.synthesis.anatomies import generator_of
from seg_prior.synthesis.contrast import sample_contrast
from seg_prior.synthesis.render import render
from seg_prior.synthesis.scan import as_scanned
from seg_prior.training.align import centered_map

SPREAD = SynthesisConfig(contrasts={"straight": 1}, is_background_air=True)
AUGMENT = AugmentConfig(flip=False)


def main() -> None:
    """Scan each label map once, and segment it twice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("labels", type=Path, nargs="+")
    given = parser.parse_args()
    segmenter = Segmenter.load(given.model, threads=1)
    table = segmenter.label_table
    for seed, path in enumerate(given.labels):
        generator = generator_of(seed, 0)
        head, sources = centered_map(path, segmenter.model, SPREAD)
        grid = Grid(head.grid.shape, head.prior_from_native @ head.grid.affine)
        anatomy = sample_anatomy(head, sources, grid, AUGMENT, SPREAD.ageing, generator)
        look = sample_contrast(sources, SPREAD, generator)
        image = as_scanned(
            render(anatomy, sources, look, 1.0, SPREAD, generator), np.ones(grid.shape, dtype=bool)
        )
        known = sources.label[anatomy]
        for name, data in (("whole", image), ("stripped", np.where(known > 0, image, 0))):
            scan = Volume(data, grid, source=f"{path}, {name}")
            scan, reference = move(scan, replace(scan, data=known), seed)
            result = segmenter.segment(scan)
            found = table.remap(result.label_map, name)
            dice = mean_dice(dice_of_structures(found, reference.data, table), table)
            print(f"{path.name} {name}: {dice:.3f} {result.qc.verdict}", flush=True)


if __name__ == "__main__":
    main()
