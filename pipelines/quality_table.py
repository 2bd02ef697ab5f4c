"""What quality control answers on 20 good and 20 bad inputs: the figures of docs/quality.md.

    python pipelines/quality_table.py --model seg_prior/weights/brain.safetensors --out runs/quality

Every input is read once and what it measured is kept; run it again after a stop and it goes on.
Scans with a reference also tell how many of its volumes lie in their 90 % intervals.
Data lie in the folder that SEG_PRIOR_DATA names, or in ../shared/data.
"""

import argparse
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seg_prior.api import Segmenter
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.config.synthesis import AugmentConfig, SynthesisConfig
from seg_prior.core.volume import Volume
from seg_prior.errors import SegPriorError
from seg_prior.files import atomic_write
from seg_prior.io.formats import strip_suffix
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.quality.measures import QcInput, gather
from seg_prior.quality.verdict import judge, rules
from seg_prior.synthesis.anatomies import generator_of
from seg_prior.synthesis.scan import centered, synthetic_scan
from seg_prior.training.align import sources_of
from spoiled_scans import spoiled

ROOT = Path(__file__).resolve().parents[1]
SEED = 2_000  # no scan of `calibrate` is drawn with it


def main() -> None:
    """Read what has not been read, judge all, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=BRAIN_MODEL)
    parser.add_argument("--out", type=Path, required=True, help="folder of what was measured")
    given = parser.parse_args()
    data = Path(os.environ.get("SEG_PRIOR_DATA", ROOT.parent / "shared" / "data"))
    segmenter = Segmenter.load(given.model, threads=1)
    tables: list[dict[str, list[float]]] = []
    print("| input | answer | rules |\n|---|---|---|")
    for name, load in [*spoiled(data), *good(data, segmenter)]:
        file = given.out / f"{name.replace('/', ' to ')}.json"
        if not file.is_file():
            with atomic_write(file) as temporary:
                found = read(segmenter, load(), data / f"brain_t1w/{name[:-4]}_dseg.nii.gz")
                temporary.write_text(json.dumps(found), encoding="utf-8")
        found = json.loads(file.read_text(encoding="utf-8"))
        if "volumes" in found:
            tables.append(found["volumes"])
        print(row(name, found, segmenter), flush=True)
    print(coverage(tables))


def coverage(tables: list[dict[str, list[float]]]) -> str:
    """How many reference volumes lie in their intervals, as they are and without what is common.

    Args:
        tables: Of each scan, label name -> true volume and ends of its interval.
    """
    names = sorted(set.intersection(*map(set, tables)))
    true, low, high = np.log([[table[name] for name in names] for table in tables]).transpose(
        2, 0, 1
    )
    error, half = true - (low + high) / 2, (high - low) / 2
    others = (error.sum(axis=0) - error) / (len(tables) - 1)  # each scan by the other ones
    offsets = ", ".join(
        f"{name} {mean:+.2f}" for name, mean in zip(names, error.mean(axis=0), strict=True)
    )
    return (
        f"\n{np.mean(abs(error) <= half):.3f} of {error.size} reference volumes lie in their 90 % "
        f"interval, {np.mean(abs(error - others) <= half):.3f} without the mean log error of each "
        f"label over the other scans: {offsets}"
    )


def good(data: Path, segmenter: Segmenter) -> list[tuple[str, Callable[[], Volume]]]:
    """Sixteen real scans, four synthetic ones."""
    files = sorted(data.glob("brain_t1w/*_T1w.nii.gz"))
    files += sorted(data.glob("brain_t1w_freesurfer/*_T1w.nii.gz"))
    files += [data / f"brain_multicontrast/sub-ms07_{c}.nii.gz" for c in ("FLAIR", "T1w", "T2w")]
    scans = [(strip_suffix(file), partial(read_volume, file)) for file in files]
    maps = sorted((data / "brain_label_maps").glob("*_dseg.nii.gz"))[-4:]
    made = [(f"synthetic {strip_suffix(m)}", partial(synthetic, m, segmenter)) for m in maps]
    return [*scans, *made]


def synthetic(label_map: Path, segmenter: Segmenter) -> Volume:
    """A synthetic scan that no calibration saw."""
    volume, config = read_label_map(label_map), SynthesisConfig()
    sources = sources_of([volume], segmenter.model, config)
    rng = generator_of(SEED, int(volume.data.sum()))
    head = centered(volume, sources)
    return synthetic_scan(head, sources, 1.0, AugmentConfig(), config, rng).volume


def read(segmenter: Segmenter, volume: Volume, reference: Path) -> dict[str, Any]:
    """What `quality.judge` needs, or why the image was refused."""
    try:
        result = segmenter.segment(volume)
    except SegPriorError as error:
        return {"refused": str(error).partition(": ")[2]}
    found = {"evidence": gather(result)._asdict()}
    if reference.is_file():
        known = read_label_map(reference)
        indices = segmenter.label_table.remap(known.data, known.source)
        mm3 = np.bincount(indices.ravel(), minlength=len(segmenter.label_table))
        true_mm3 = dict(
            zip(segmenter.label_table.names, mm3 * known.grid.voxel_volume_mm3, strict=True)
        )
        found["volumes"] = {
            v.name: (true_mm3[v.name], v.low_mm3, v.high_mm3)
            for v in result.volumes
            if v.low_mm3 is not None and true_mm3[v.name] > 0
        }
    return found


def row(name: str, found: dict[str, Any], segmenter: Segmenter) -> str:
    """One line of the table."""
    if "refused" in found:
        return f"| {name} | refused | {found['refused']} |"
    judged = judge(QcInput(**found["evidence"]), segmenter.calibration)
    fired = rules([finding.text for finding in judged.findings])
    return f"| {name} | {judged.verdict} | {fired} |"


if __name__ == "__main__":
    main()
