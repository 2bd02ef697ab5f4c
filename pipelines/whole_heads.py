"""Whole heads against stripped ones: painted label maps, with and without what surrounds the brain.

    python pipelines/whole_heads.py runs/fold/prior.safetensors MAPS/sub-01_dseg.nii.gz ...

The label maps must not have taught the model, and must hold extra-cerebral ids, which results have
as background. Each of those ids gets an intensity of its own; the brain is painted like T1w.
Prints mean17 of both for each map.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage

from seg_prior import Segmenter
from seg_prior.core.volume import Volume
from seg_prior.evaluation.dice_table import dice_of_structures, mean_dice
from seg_prior.inference.predictor import typical_intensities
from seg_prior.io.nifti import read_label_map

LABEL_SD, TEXTURE, NOISE, BLUR_VOXELS = 0.03, 0.04, 0.02, 0.5


def main() -> None:
    """Paint each label map once, and segment it twice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("labels", type=Path, nargs="+")
    given = parser.parse_args()
    segmenter = Segmenter.load(given.model, threads=1)
    table = segmenter.label_table
    typical = typical_intensities(segmenter.model)
    for seed, path in enumerate(given.labels):
        source = read_label_map(path)
        known, rng = table.remap(source.data, source.source), np.random.default_rng(seed)
        image = (typical + LABEL_SD * rng.standard_normal(len(table)))[known]
        for value in np.unique(source.data[(known == 0) & (source.data > 0)]):
            image[(known == 0) & (source.data == value)] = rng.uniform(0.05, 1.1)
        image = ndimage.gaussian_filter(
            image + TEXTURE * rng.standard_normal(known.shape), BLUR_VOXELS
        )
        image = 300 * np.abs(image + NOISE * rng.standard_normal(known.shape))
        for name, data in (("whole", image), ("stripped", np.where(known > 0, image, 0))):
            result = segmenter.segment(Volume(data, source.grid, source=f"{path}, {name}"))
            found = table.remap(result.label_map, name)
            dice = mean_dice(dice_of_structures(found, known, table), table)
            print(f"{path.name} {name}: {dice:.3f} {result.qc.verdict}", flush=True)


if __name__ == "__main__":
    main()
