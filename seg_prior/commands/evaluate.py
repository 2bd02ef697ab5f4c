"""`evaluate`: label maps and their references in, a table of how far they agree out."""

from __future__ import annotations

from collections.abc import Callable

from seg_prior.config.commands import EvaluateConfig
from seg_prior.evaluation import evaluate
from seg_prior.evaluation.evaluate import EvaluateResult
from seg_prior.io.label_tables import read_label_table


def run(config: EvaluateConfig, show: Callable[[str], None] = print) -> EvaluateResult:
    """Score the label maps, write and show the table.

    Raises:
        SegPriorError: The label table or the request does not fit.
    """
    table = None if config.label_table is None else read_label_table(config.label_table)
    return evaluate.run([config.pred], [config.ref], config.out, table, config.surface, show)
