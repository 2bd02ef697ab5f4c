"""`evaluate`: label maps and their references in, a table of how far they agree out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seg_prior.config.base import FrozenModel
from seg_prior.files import Files

if TYPE_CHECKING:
    from seg_prior.evaluation.evaluate import EvaluateResult

SUMMARY = "Score label maps against their references: Dice, surface distances, volumes."
EXAMPLE = "seg-prior evaluate results/ 'maps/*_dseg.nii.gz' --out scores.csv"
OPERANDS = "pred ref"


class Config(FrozenModel):
    """`evaluate`: label maps and their references in, a table of how far they agree out."""

    pred: Path
    """Label maps to score: a file, a folder, a pattern or a .txt list."""
    ref: Path
    """Their references, in the same forms; files are paired by subject."""
    out: Path | None = None
    """A .csv file to write, with a .json of the same name beside it; None writes nothing."""
    label_table: Path | None = None
    """Tab-separated id, name, scored_as, intensity_class[, partner]; without one every id is scored
    as it is."""
    surface: bool = True
    """Measure surface distances, which take most of the time."""


def files(config: Config) -> Files:
    """What `run` reads and writes."""
    from seg_prior.io.find import find_label_maps

    reads = [*find_label_maps([config.pred]), *find_label_maps([config.ref])]
    reads += [config.label_table] if config.label_table else []
    return Files(reads, [config.out, config.out.with_suffix(".json")] if config.out else [])


def run(config: Config) -> EvaluateResult:
    """Score the label maps, write and show the table.

    Raises:
        SegPriorError: The label table or the request does not fit.
    """
    from seg_prior.evaluation import evaluate
    from seg_prior.io.label_tables import read_label_table

    table = None if config.label_table is None else read_label_table(config.label_table)
    return evaluate.run([config.pred], [config.ref], config.out, table, config.surface)
