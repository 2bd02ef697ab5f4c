"""`labels`: a checkpoint in, its label table in the form of another program out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from seg_prior.checkpoints.header import read_header
from seg_prior.config.labels import LabelFormat
from seg_prior.io.label_formats import describe_label_table, write_label_table


def run(
    model: Path, form: LabelFormat, out: Path | None, show: Callable[[str], None] = print
) -> None:
    """Write a model's label table to a file, or show it.

    Raises:
        CheckpointError: The file is missing, not a checkpoint, or of another version.
    """
    table = read_header(model).label_table.written
    if out is None:
        show("\n".join(describe_label_table(table, form)))
    else:
        write_label_table(table, form, out)
