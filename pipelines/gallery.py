"""Pictures of a real brain, read as it is and spoiled on purpose: docs/brain.jpg, docs/failures.md.

    python pipelines/gallery.py --out runs/gallery

The brain is the ICBM template that the wheel of nilearn carries, whose licence lets pictures of it
be published. What is finished is not done again. Each spoiled scan is compared with what the same
model makes of the brain as it is; that is no reference, but shows what the fault alone does.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmark_page import with_block
from experiments.picture import write_jpeg
from seg_prior.checkpoints.header import read_header
from seg_prior.cli.talk import talking
from seg_prior.commands import segment
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.core.labels import LabelTable
from seg_prior.core.volume import Volume
from seg_prior.errors import SegPriorError
from seg_prior.evaluation.dice_table import dice_of_structures, mean_dice
from seg_prior.files import write_text
from seg_prior.io.example import brain_template
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.io.write import write_volume
from seg_prior.report.overlay import Panel
from spoiled_scans import kept, middle, mirrored, noisy, turned

ROOT = Path(__file__).resolve().parents[1]
LESION_AT_MM, LESION_RADIUS_MM = (-26.0, -18.0, 28.0), 7.0
"""In the white matter beside the left ventricle, in the template's own millimetres."""
ZOOM_MM = ((-48.0, -48.0, -32.0), (48.0, 32.0, 32.0))


class Case(NamedTuple):
    """A scan, and how it is read.

    Attributes:
        slug: In names of files.
        title: What is wrong.
        spoil: Makes the scan.
        flags: Settings of `segment`.
        shown_mm: Opposite corners of what is drawn; all of it if None.
    """

    slug: str
    title: str
    spoil: Callable[[Volume], Volume]
    flags: dict[str, Any]
    shown_mm: np.ndarray | None = None


def cases(mask: Path) -> list[Case]:
    """The brain as it is first, then what can go wrong with a scan."""
    half = ((0.0, 0.5), (0.0, 1.0), (0.0, 1.0))
    lesion = np.add(LESION_AT_MM, np.array([[-20.0], [20.0]]))
    return [
        Case("as_it_is", "as it is", lambda v: v, {}),
        Case("half", "one half of the head missing", lambda v: kept(v, *half), {}),
        Case("bias", "2.5 times brighter in the middle", biased, {}),
        Case("turned", "header turned by 90 degrees", turned, {}),
        Case("mirrored", "header mirrored front to back", lambda v: mirrored(v, "y"), {}),
        Case("noise", "noise, sd 0.3 of the 99th percentile", lambda v: noisy(v, 0.3), {}),
        Case("cavity", "a cavity of 14 mm", emptied, {}, lesion),
        Case("cavity_ignored", "the same, with --ignore", emptied, {"ignore": mask}, lesion),
        Case("small", "field of view of 40 mm", lambda v: middle(v, 40), {}),
    ]


def main() -> None:
    """Read what has not been read, draw, write the block of docs/failures.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of scans and results")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    brain = read_volume(brain_template())
    mask = out / "cavity_mask.nii.gz"
    write_volume(mask, in_ball(brain).astype(np.uint8), brain)
    table = read_header(BRAIN_MODEL).label_table.written
    found = {case.slug: read(case, brain, out) for case in cases(mask)}
    draw_brain(ROOT / "docs" / "brain.jpg", found["as_it_is"], table)
    rows = ["| the scan | answer | agreement |", "|---|---|---|"]
    pictures = []
    for case in cases(mask):
        verdict, agreement = answer(found[case.slug], found["as_it_is"], table)
        rows.append(f"| {case.title} | {verdict} | {agreement} |")
        if case.slug != "as_it_is":
            name = f"failure_{case.slug}.jpg"
            draw(ROOT / "docs" / name, case, found[case.slug], table)
            pictures.append(f"![{case.title}]({name})")
    page = ROOT / "docs" / "failures.md"
    block = "\n\n".join(["\n".join(rows), *pictures])
    write_text(page, with_block(page.read_text("utf-8"), "gallery", block))


class Read(NamedTuple):
    """A scan, the label map that came of it with its sidecar, or why there is none."""

    scan: Volume
    label_map: Volume | None
    sidecar: dict[str, Any]
    refusal: str


def read(case: Case, brain: Volume, out: Path) -> Read:
    """Write the scan, have it segmented, read the result."""
    path, target = out / f"{case.slug}.nii.gz", out / f"{case.slug}_dseg.nii.gz"
    scan = case.spoil(brain)
    if not path.exists():
        write_volume(path, scan.data, scan)
    asked = segment.Config(images=[path], out=target, threads=1, **case.flags)
    try:
        segment.run(asked)
    except SegPriorError as error:
        return Read(scan, None, {}, str(error).replace(str(path), path.name))
    sidecar = json.loads((out / f"{case.slug}_dseg.json").read_text("utf-8"))
    return Read(scan, read_label_map(target), sidecar, "")


def answer(result: Read, whole: Read, table: LabelTable) -> tuple[str, str]:
    """What `segment` said, and mean Dice with the result of the brain as it is."""
    if result.label_map is None or whole.label_map is None:
        return f"refused: {result.refusal}", ""
    quality = result.sidecar["quality"]
    fired = dict.fromkeys(one["rule"] for one in quality["findings"])
    rules = ", ".join(f"`{rule}`" for rule in fired)
    mine, theirs = (
        table.remap(one.data, one.source) for one in (result.label_map, whole.label_map)
    )
    dice = mean_dice(dice_of_structures(mine, theirs, table), table)
    return f"{quality['verdict']}{': ' if rules else ''}{rules}", f"{dice:.2f}"


def draw(path: Path, case: Case, result: Read, table: LabelTable) -> None:
    """The scan, beside it what was made of it, if anything."""
    panels = [panel(case.title, result, table, case.shown_mm, is_labelled=False)]
    if result.label_map is not None:
        verdict = result.sidecar["quality"]["verdict"]
        panels.append(panel(f"seg-prior: {verdict}", result, table, case.shown_mm))
    write_jpeg(path, panels, table, num_columns=2)


def draw_brain(path: Path, result: Read, table: LabelTable) -> None:
    """Before and after, and both magnified around the deep structures."""
    near = np.array(ZOOM_MM)
    panels = [
        panel("ICBM 152 template", result, table, is_labelled=False),
        panel("seg-prior", result, table),
        panel("the same, closer", result, table, near, is_labelled=False),
        panel("", result, table, near),
    ]
    write_jpeg(path, panels, table, num_columns=2)


def panel(
    title: str,
    result: Read,
    table: LabelTable,
    shown_mm: np.ndarray | None = None,
    is_labelled: bool = True,
) -> Panel:
    """A scan, with or without its labels, as far as it lies between two corners in mm."""
    grid = result.scan.grid
    start, stop = np.zeros(3, dtype=int), np.array(grid.shape)
    if shown_mm is not None:
        corners = np.linalg.inv(grid.affine) @ np.c_[shown_mm, np.ones(2)].T
        start, stop = np.sort(np.round(corners[:3]).astype(int), axis=1).T
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    indices = None
    if is_labelled and result.label_map is not None:
        indices = table.remap(result.label_map.data, result.label_map.source)[box]
    return Panel(title, grid.crop(start, stop), result.scan.data[box], indices)


def biased(scan: Volume) -> Volume:
    """2.5 times brighter in the middle of the brain than at its ends, by a quadratic field."""
    seen = np.argwhere(scan.data > 0)
    middle_of, half = (seen.max(0) + seen.min(0)) / 2, np.ptp(seen, axis=0) / 2
    axes = [
        ((np.arange(n) - m) / h) ** 2
        for n, m, h in zip(scan.data.shape, middle_of, half, strict=True)
    ]
    field = np.exp(-np.log(2.5) * sum(np.ix_(*axes)))
    return Volume(scan.data * field, scan.grid, source=scan.source)


def emptied(scan: Volume) -> Volume:
    """With a ball of nothing."""
    return Volume(np.where(in_ball(scan), 0, scan.data), scan.grid, source=scan.source)


def in_ball(scan: Volume) -> np.ndarray:
    """(I, J, K) whether a voxel lies in the lesion."""
    index = np.indices(scan.data.shape).reshape(3, -1)
    world = scan.grid.affine[:3, :3] @ index + scan.grid.affine[:3, 3:]
    distance_mm = np.linalg.norm(world - np.array(LESION_AT_MM)[:, None], axis=0)
    return np.reshape(distance_mm <= LESION_RADIUS_MM, scan.data.shape)


if __name__ == "__main__":
    with talking():
        main()
