"""`labels`: a checkpoint in, its label table in the form of another program out."""

from __future__ import annotations

from pathlib import Path

from seg_prior.config.base import FrozenModel
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.config.labels import LabelFormat
from seg_prior.files import Files

SUMMARY = "Show a model's label table, in the form of another program."
EXAMPLE = "seg-prior labels --format freesurfer --out lut.txt"
OPERANDS = "model"


class Config(FrozenModel):
    """`labels`: a checkpoint in, its label table out."""

    model: Path = BRAIN_MODEL
    """A checkpoint of any kind; the human brain model of the package if none is named."""
    format: LabelFormat = "bids"
    """Whose form the table has."""
    out: Path | None = None
    """A file to write; else the table is shown."""


def files(config: Config) -> Files:
    """What `run` reads and writes."""
    return Files([config.model], [] if config.out is None else [config.out])


def run(config: Config) -> None:
    """Write a model's label table to a file, or show it.

    Raises:
        CheckpointError: The file is missing, not a checkpoint, or of another version.
    """
    from seg_prior.checkpoints.header import read_header
    from seg_prior.io.label_formats import describe_label_table, write_label_table

    table = read_header(config.model).label_table.written
    if config.out is None:
        print("\n".join(describe_label_table(table, config.format)))
    else:
        write_label_table(table, config.format, config.out)
