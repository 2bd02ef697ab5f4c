"""How well `segment --departure` shows lesions: the figures of docs/departure.md.

    python pipelines/departure.py ../shared/data --out runs/departure

Synthetic scans of deformed label maps at 2 mm, half of them T1w with lesions between white matter
and cortex: twenty with lesions, and eight of them without, which the threshold is calibrated on.
Then the one patient of `brain_multicontrast`. Area under the precision-recall curve within the
structures found, beside that of the best threshold on intensities, which has seen the lesions: the
better of both signs, of the image as it is or blurred by 1 or 2 mm, of any contrast.
What was measured is kept; run it again after a stop and it goes on. The model in the package has
seen the label maps undeformed.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from seg_prior.api import Segmentation, Segmenter
from seg_prior.cli.settings import resolve
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.config.synthesis import Contrast
from seg_prior.config.training import EncoderConfig
from seg_prior.core.grid import Grid
from seg_prior.core.volume import Volume
from seg_prior.files import write_json
from seg_prior.inference.departure import THRESHOLD_SD, departure_map
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.synthesis.ageing import sample_anatomy
from seg_prior.synthesis.anatomies import generator_of
from seg_prior.synthesis.contrast import Appearance, appearance
from seg_prior.synthesis.fields import uniform
from seg_prior.synthesis.render import render
from seg_prior.synthesis.scan import as_scanned
from seg_prior.synthesis.sources import Sources
from seg_prior.synthesis.view import sample_view
from seg_prior.training.align import centered_map

ROOT = Path(__file__).resolve().parents[1]
SEED = 3_000  # no scan of `calibrate` or `quality_table` is drawn with it
SPACING_MM = 2.0
CONTRASTS: tuple[Contrast, ...] = ("straight", "straight", "tent", "inverted")
LESIONS, WHITE, CORTEX, FLUID = (25, 57, 77), 2, 3, 4
THRESHOLDS_SD = np.arange(2, 16.5, 0.5)
BLURS_MM = (0.0, 1.0, 2.0)
SPREAD = {
    "views": {"inside": 1.0},
    "cut_share": 0.0,
    "max_log_bias": 0.3,
    "blur_sd_mm": (1.0, 1.6),
    "free_ids": (136, 137, 163, 164),
}


class Painted(NamedTuple):
    """A scan, and where its lesions lie."""

    volume: Volume
    lesions: NDArray[np.bool_]


def main() -> None:
    """Read what has not been read, print two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of what was measured")
    parser.add_argument("--model", type=Path, default=BRAIN_MODEL)
    parser.add_argument("--num", type=int, default=20, help="scans with lesions")
    parser.add_argument("--num-quiet", type=int, default=8, help="of them, painted without, too")
    given = parser.parse_args()
    segmenter = Segmenter.load(given.model, threads=1)
    maps = sorted((given.data / "brain_label_maps").glob("*_dseg.nii.gz"))
    for number in range(given.num):
        for kind in ("lesions", "none") if number < given.num_quiet else ("lesions",):
            file = given.out / f"{kind}-{number:02d}.json"
            if not file.is_file():
                path = maps[number % len(maps)]
                scan = painted(segmenter, path, number, has_lesions=kind == "lesions")
                write_json(file, measured(segmenter.segment(scan.volume), scan.lesions))
                print(file.name, flush=True)
    patient(segmenter, given.data / "brain_multicontrast", given.out)
    print_tables(given.out)


def painted(segmenter: Segmenter, path: Path, number: int, has_lesions: bool) -> Painted:
    """A deformed label map in a contrast of its own, with lesions in white matter or without."""
    config = resolve(EncoderConfig, ROOT / "configs" / "brain_encoder.yaml", {})
    ageing = config.synthesis.ageing.model_copy(update={"lesion_share": float(has_lesions)})
    spread = config.synthesis.model_copy(update=SPREAD | {"ageing": ageing})
    generator = generator_of(SEED, number)
    head, sources = centered_map(path, segmenter.model, spread)
    grid = _coarse(head.prior_from_native @ head.grid.affine, head.grid.shape)
    anatomy = sample_anatomy(head, sources, grid, config.augment, spread.ageing, generator)
    contrast = CONTRASTS[number % len(CONTRASTS)]
    look = appearance(sources, contrast, spread, generator)
    place = uniform(0.4, 1.0, generator)
    look = with_lesions(look, sources, place, has_lesions)
    image = render(anatomy, sources, look, SPACING_MM, spread, generator)
    in_view, _ = sample_view(anatomy, sources, grid, spread, generator)
    name = f"{path.name}, {contrast}"
    lesions = sources.are(LESIONS)[anatomy] & has_lesions
    return Painted(Volume(as_scanned(image, in_view), grid, source=name), lesions)


def with_lesions(look: Appearance, sources: Sources, place: float, has_lesions: bool) -> Appearance:
    """Lesions between white matter and cortex in T1w, and fluid in T2w; above both in FLAIR.

    Args:
        look: Of all sources.
        sources: What they are.
        place: How far between, 0 to 1.
        has_lesions: Else lesions of the label map look as white matter.
    """
    white, cortex, fluid = (float(look.mean[sources.ids == i][0]) for i in (WHITE, CORTEX, FLUID))
    there = {
        "straight": white + place * (cortex - white),
        "inverted": white + 0.7 * place * (fluid - white),
        "tent": max(white, cortex) + 0.3 * place,
    }[look.contrast]
    mean = look.mean.clone()
    mean[sources.are(LESIONS)] = there if has_lesions else white
    return replace(look, mean=mean)


def measured(result: Segmentation, lesions: NDArray[np.bool_]) -> dict[str, Any]:
    """Areas of both, within the structures found, and shares above thresholds.

    Of several contrasts the one whose departures show the lesions best; signed, of the better sign.
    """
    inside = result.predictor.label_table.is_structure[result.label_indices]
    maps = [one[inside] for one in departure_map(result)]
    is_lesion = lesions[inside]
    areas = [average_precision(np.abs(one), is_lesion) for one in maps] if is_lesion.any() else [0]
    departure = np.abs(maps[int(np.argmax(areas))])
    others = departure[~is_lesion]
    found: dict[str, Any] = {
        "scan": Path(result.volume.source).name,
        "share": float(is_lesion.mean()),
        "quantile_999": float(np.quantile(others, 0.999)),
        "false_at": {f"{sd:g}": float((others > sd).mean()) for sd in THRESHOLDS_SD},
    }
    if is_lesion.any():
        found["departure"] = max(areas)
        found["signed"] = max(
            average_precision(sign * one, is_lesion) for one in maps for sign in (1, -1)
        )
        found["threshold"] = max(
            best_threshold(contrast, result.volume.grid, inside, lesions)
            for contrast in (result.volume, *result.contrasts)
        )
        marked = departure[is_lesion]
        found["recall_at"] = {f"{sd:g}": float((marked > sd).mean()) for sd in THRESHOLDS_SD}
    return found


def best_threshold(
    image: Volume, grid: Grid, inside: NDArray[np.bool_], lesions: NDArray[np.bool_]
) -> float:
    """The best area of a threshold on intensities: of both signs, as they are or blurred."""
    areas = []
    for blur_mm in BLURS_MM:
        sigma = blur_mm / grid.spacing_mm
        share = ndimage.gaussian_filter(inside.astype(np.float32), sigma)
        total = ndimage.gaussian_filter(np.where(inside, image.data, 0).astype(np.float32), sigma)
        values = total[inside] / share[inside]
        areas += [average_precision(sign * values, lesions[inside]) for sign in (1, -1)]
    return max(areas)


def average_precision(score: NDArray[np.floating], is_lesion: NDArray[np.bool_]) -> float:
    """Area under the precision-recall curve: sum of precision over the steps of recall."""
    order = np.argsort(-score, kind="stable")
    hits, at = np.cumsum(is_lesion[order]), np.arange(1, len(order) + 1)
    is_last = np.append(np.diff(score[order]) != 0, True)  # of those of one score
    recall = np.append(0, hits[is_last] / hits[-1])
    return float(np.sum(np.diff(recall) * hits[is_last] / at[is_last]))


def patient(segmenter: Segmenter, folder: Path, out: Path) -> None:
    """The one patient: FLAIR alone, T1w alone, and three contrasts together."""
    lesions = read_label_map(folder / "sub-ms07_lesion.nii.gz").data > 0
    scans = {n: read_volume(folder / f"sub-ms07_{n}.nii.gz") for n in ("T1w", "T2w", "FLAIR")}
    asked = {"T1w": ("T1w",), "FLAIR": ("FLAIR",), "all": ("T1w", "T2w", "FLAIR")}
    for name, (first, *further) in asked.items():
        file = out / f"patient-{name}.json"
        if not file.is_file():
            result = segmenter.segment(scans[first], contrasts=[scans[n] for n in further])
            write_json(file, measured(result, lesions))


def print_tables(folder: Path) -> None:
    """Scan by scan, means, and the threshold that the scans without lesions ask for."""
    read = {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}
    pairs = [(r["departure"], r["threshold"]) for name, r in read.items() if "lesions" in name]
    quiet = [r["quantile_999"] for name, r in read.items() if name.startswith("none")]
    print("| scan | share | departure | signed | best threshold | recall above |")
    print("|---|---|---|---|---|---|")
    for name, r in read.items():
        if "departure" in r:
            at = f"{THRESHOLD_SD:g}"
            figures = (r["share"], r["departure"], r["signed"], r["threshold"], r["recall_at"][at])
            print(f"| {name} {r['scan']} |", " | ".join(f"{f:.3f}" for f in figures), "|")
    if len(pairs) > 1:
        both = np.array(pairs)
        gain = both[:, 0] - both[:, 1]
        for name, values in (("departure", both[:, 0]), ("threshold", both[:, 1]), ("gain", gain)):
            told = f"{values.mean():.3f} ± {values.std(ddof=1):.3f} (n = {len(values)})"
            print(f"{name} {told}, above 0: {(values > 0).sum()}")
    if quiet:
        told = f"{np.mean(quiet):.2f} ± {np.std(quiet):.2f} (n = {len(quiet)})"
        print(f"0.1 % of structures without lesions depart by more than {told}", flush=True)


def _coarse(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> Grid:
    """A grid of SPACING_MM over a grid of 1 mm or so; sides are multiples of 4."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    step = SPACING_MM / spacing
    i, j, k = (int(4 * np.ceil(n / s / 4)) for n, s in zip(shape, step, strict=True))
    return Grid((i, j, k), affine @ np.diag([*step, 1.0]))


if __name__ == "__main__":
    main()
