"""`make-phantoms`: nothing in, scans of synthetic heads with their label maps and a table out."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seg_prior.core.labels import BACKGROUND, LabelTable
from seg_prior.errors import ConfigError
from seg_prior.files import whole_file
from seg_prior.io.nifti import write_volume
from seg_prior.synthesis.phantom import make_phantom, phantom_label_table


class PhantomFiles(NamedTuple):
    """What `run` wrote, subject by subject."""

    images: tuple[Path, ...]
    label_maps: tuple[Path, ...]
    label_table: Path


def run(out: Path, num: int, seed: int, spacing_mm: float = 3.0) -> PhantomFiles:
    """Write `num` heads as sub-001_phantom.nii.gz, sub-001_phantom_dseg.nii.gz, and labels.tsv.

    A subject depends on the seed and its own number alone, so that the first ten of twenty are
    the ten one gets by asking for ten.

    Args:
        out: A folder, made if it is missing; files of these names in it are replaced.
        num: Number of heads, each with a shape, contrast, bias field, pose and grid of its own.
        seed: >= 0; another seed gives other heads throughout.
        spacing_mm: Mean edge of a voxel.

    Raises:
        ConfigError: `num`, `seed` or `spacing_mm` is out of range, or `out` is a file.
    """
    _check(out, num, seed, spacing_mm)
    images, label_maps = [], []
    for number in range(1, num + 1):
        phantom = make_phantom(_subject_seed(seed, number), spacing_mm)
        images.append(out / f"sub-{number:03d}_phantom.nii.gz")
        label_maps.append(out / f"sub-{number:03d}_phantom_dseg.nii.gz")
        write_volume(images[-1], phantom.image.data, phantom.image)
        write_volume(label_maps[-1], phantom.label_map.data, phantom.label_map)
    label_table = out / "labels.tsv"
    _write_label_table(label_table, phantom_label_table())
    return PhantomFiles(tuple(images), tuple(label_maps), label_table)


def _check(out: Path, num: int, seed: int, spacing_mm: float) -> None:
    if num < 1:
        raise ConfigError(f"num: found {num}, need at least 1 phantom. Ask for more.")
    if seed < 0:
        raise ConfigError(f"seed: found {seed}, need a whole number >= 0. Give another.")
    # Coarser voxels would step over the small nuclei; finer ones fill the memory.
    if not 1.0 <= spacing_mm <= 8.0:
        raise ConfigError(f"spacing_mm: found {spacing_mm:g}, need 1 to 8 mm. Give another.")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: found a file, need a folder to write to. Name another.")


def _subject_seed(seed: int, number: int) -> int:
    """A seed for one subject."""
    # Mixed: by seed + number, seed 1 would have the heads of seed 0, and a test those of training.
    low, high = np.random.SeedSequence((seed, number)).generate_state(2).tolist()
    return int(low) + (int(high) << 32)


def _write_label_table(path: Path, table: LabelTable) -> None:
    """The table as `read_label_table` reads it."""
    with (
        whole_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        rows.writerow(["id", "name", "scored_as", "intensity_class", "partner"])
        for label in table.labels:
            scored_as = label.id if label.is_structure else BACKGROUND
            rows.writerow(
                [label.id, label.name, scored_as, label.intensity_class, label.partner_id]
            )
