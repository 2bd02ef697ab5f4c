"""`make-phantoms`: nothing in, scans of synthetic heads with their label maps and a table out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from seg_prior.config.base import FrozenModel
from seg_prior.errors import ConfigError
from seg_prior.files import Files

if TYPE_CHECKING:
    pass

SUMMARY = "Make scans of synthetic heads with known labels."
EXAMPLE = "seg-prior make-phantoms heads/ --num 20"
OPERANDS = "out"
log = logging.getLogger(__name__)


class Config(FrozenModel):
    """`make-phantoms`: nothing in, scans of synthetic heads with their label maps out."""

    out: Path
    """Folder to write to, made if it is missing; files of the same names are replaced."""
    num: int = Field(20, ge=1, le=100_000)
    """Number of heads, each with a shape, contrast, bias field, pose and grid of its own."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Another seed gives other heads throughout."""
    # Coarser voxels would step over the small nuclei; finer ones fill the memory.
    spacing_mm: float = Field(3.0, ge=1, le=8)
    """Mean edge of a voxel, 1 to 8 mm."""


class PhantomFiles(NamedTuple):
    """What `run` wrote, subject by subject."""

    images: tuple[Path, ...]
    label_maps: tuple[Path, ...]
    label_table: Path


def files(config: Config) -> Files:
    """What `run` writes; it reads nothing."""
    planned = plan(config)
    return Files([], [*planned.images, *planned.label_maps, planned.label_table])


def plan(config: Config) -> PhantomFiles:
    """The files that `run` writes."""
    subjects = [f"sub-{number:03d}_phantom" for number in range(1, config.num + 1)]
    return PhantomFiles(
        tuple(config.out / f"{subject}.nii.gz" for subject in subjects),
        tuple(config.out / f"{subject}_dseg.nii.gz" for subject in subjects),
        config.out / "labels.tsv",
    )


def run(config: Config) -> PhantomFiles:
    """Write heads as sub-001_phantom.nii.gz, sub-001_phantom_dseg.nii.gz, and labels.tsv.

    A subject depends on the seed and its own number alone, so that the first ten of twenty are
    the ten one gets by asking for ten.

    Raises:
        ConfigError: `out` is a file.
    """
    from seg_prior.io.label_formats import write_source_table
    from seg_prior.io.write import write_volume
    from seg_prior.synthesis.phantom import make_phantom, phantom_label_table

    if config.out.exists() and not config.out.is_dir():
        raise ConfigError(f"{config.out}: found a file, need a folder to write to. Name another.")
    written = plan(config)
    pairs = zip(written.images, written.label_maps, strict=True)
    for number, (image, label_map) in enumerate(pairs, start=1):
        phantom = make_phantom(_subject_seed(config.seed, number), config.spacing_mm)
        write_volume(image, phantom.image.data, phantom.image)
        write_volume(label_map, phantom.label_map.data, phantom.label_map)
    write_source_table(written.label_table, phantom_label_table())
    log.info("wrote %d scans and their label maps to %s", config.num, config.out)
    return written


def _subject_seed(seed: int, number: int) -> int:
    """A seed for one subject."""
    import numpy as np

    # Mixed: by seed + number, seed 1 would have the heads of seed 0, and a test those of training.
    low, high = np.random.SeedSequence((seed, number)).generate_state(2).tolist()
    return int(low) + (int(high) << 32)
