"""Whether contrasts agree, and whether several together are worth more than one.

    python pipelines/contrasts.py ../shared/data

Prints mean17 of T2w, FLAIR and all three against T1w of the patient in brain_multicontrast, then
mean17 of synthetic scans of deformed label maps in three contrasts, read one by one and together.
The model in the package has seen these maps undeformed.
"""

import argparse
from pathlib import Path

from seg_prior import Segmenter
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.config.synthesis import AugmentConfig, Contrast, SynthesisConfig
from seg_prior.core.grid import Grid
from seg_prior.core.volume import Volume
from seg_prior.evaluation.dice_table import dice_of_structures, mean_dice, mean_sd_n
from seg_prior.io.read import read_volume
from seg_prior.synthesis.ageing import sample_anatomy
from seg_prior.synthesis.anatomies import generator_of
from seg_prior.synthesis.contrast import appearance
from seg_prior.synthesis.render import render
from seg_prior.synthesis.scan import as_scanned
from seg_prior.synthesis.view import sample_view
from seg_prior.training.align import centered_map

MAPS = ("01", "03", "06", "09", "13", "18")
SPREAD = SynthesisConfig()
CONTRASTS: tuple[Contrast, ...] = ("straight", "inverted", "tent")
TOGETHER, BEST = "the three together", "the best of the three"


def main() -> None:
    """The patient, then the synthetic scans."""
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
        for read_from, dice in score_synthetic(segmenter, path, seed).items():
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


def score_synthetic(segmenter: Segmenter, path: Path, seed: int) -> dict[str, float]:
    """mean17 of one stripped anatomy, by what it was read from."""
    table, generator = segmenter.label_table, generator_of(seed, 0)
    head, sources = centered_map(path, segmenter.model, SPREAD)
    grid = Grid(head.grid.shape, head.prior_from_native @ head.grid.affine)
    augment = AugmentConfig(flip=False)
    anatomy = sample_anatomy(head, sources, grid, augment, SPREAD.ageing, generator)
    volumes = []
    for contrast in CONTRASTS:
        look = appearance(sources, contrast, SPREAD, generator)
        image = render(anatomy, sources, look, 1.0, SPREAD, generator)
        in_view, _ = sample_view(anatomy, sources, grid, SPREAD, generator)
        volumes.append(Volume(as_scanned(image, in_view), grid, source=contrast))
    known = sources.label[anatomy]

    def score(first: Volume, *further: Volume) -> float:
        found = table.remap(segmenter.segment(first, contrasts=further).label_map, "synthetic")
        return mean_dice(dice_of_structures(found, known, table), table)

    alone = {volume.source: score(volume) for volume in volumes}
    return alone | {BEST: max(alone.values()), TOGETHER: score(*volumes)}


if __name__ == "__main__":
    main()
