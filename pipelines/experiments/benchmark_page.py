"""What the benchmark measured, for people: tables in a Markdown page."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from experiments.benchmark import Cell
from experiments.config import BenchmarkConfig, BenchmarkDataset
from seg_prior.core.labels import LabelTable
from seg_prior.evaluation.dice_table import (
    dice_by_name,
    has_mean17,
    mean_dice,
    mean_sd_n,
)
from seg_prior.files import write_text
from seg_prior.io.label_tables import read_label_table

MIXTURE_NOTE = (
    "The Gaussian mixture has no anatomy: after fitting, each Gaussian is named after the label it "
    "overlaps most with in the reference, which flatters it."
)

COST_NOTE = (
    "Each scan and method ran in a process of its own: costs are means over scans and include "
    "start-up and registration."
)


def write(
    dataset: BenchmarkDataset,
    cells: Sequence[Cell],
    config: BenchmarkConfig,
    cost_note: str = COST_NOTE,
) -> str:
    """Replace the data set's block of the page; the block.

    Without pictures: most data sets do not let their scans be published.
    """
    table = read_label_table(config.tables / dataset.label_table).written
    block = "\n\n".join(
        [
            f"### {dataset.name}",
            *tables(cells, table),
            *_notes(cells, config, cost_note),
        ]
    )
    before = config.page.read_text("utf-8") if config.page.exists() else "# Benchmark\n"
    write_text(config.page, with_block(before, dataset.name, block))
    return block


def with_block(page: str, name: str, block: str) -> str:
    """The page with one marked block replaced, or added at the end; all else stays as it is."""
    start, end = f"<!-- benchmark:{name} -->", "<!-- /benchmark -->"
    marked = f"{start}\n{block}\n{end}"
    old = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    if old.search(page):
        return old.sub(lambda match: marked, page, count=1)
    return f"{page.rstrip()}\n\n{marked}\n"


def tables(cells: Sequence[Cell], table: LabelTable) -> list[str]:
    """Three Markdown tables: method by method, structure by structure, scan by scan."""
    mean_name = "mean17" if has_mean17(table) else "mean Dice"
    methods = list(dict.fromkeys(cell.method for cell in cells))
    done = {name: [c for c in cells if c.method == name and not c.error] for name in methods}
    dice = {name: [known_dice(cell) for cell in done[name]] for name in methods}

    costs = ("CPU s", "wall s", "peak memory MB")
    by_method = [["method", f"{mean_name}, mean ± sd (n)", *costs]]
    for name in methods:
        means = [mean_dice(values, table) for values in dice[name]]
        fields = ("cpu_s", "wall_s", "peak_mb")
        spent = [_mean([getattr(cell, field) for cell in done[name]]) for field in fields]
        by_method.append([name, mean_sd_n(means), *spent])

    by_structure = [["structure", *methods]]
    for structure in dice_by_name({}, table):
        columns = ([dice_by_name(v, table)[structure] for v in dice[name]] for name in methods)
        by_structure.append([structure, *(mean_sd_n(column, 2) for column in columns)])

    by_scan = [[f"scan: {mean_name}", *methods]]
    for subject in dict.fromkeys(cell.subject for cell in cells):
        mine = {c.method: c for c in cells if c.subject == subject and not c.error}
        values = (
            f"{mean_dice(known_dice(mine[name]), table):.3f}" if name in mine else "failed"
            for name in methods
        )
        by_scan.append([subject, *values])
    return [_markdown(rows) for rows in (by_method, by_structure, by_scan)]


def known_dice(cell: Cell) -> dict[int, float]:
    """Structure id -> Dice; nan where the reference lacks the structure."""
    return {id_: math.nan if value is None else value for id_, value in cell.dice.items()}


def _notes(cells: Sequence[Cell], config: BenchmarkConfig, cost_note: str) -> list[str]:
    """Where the numbers come from, and what went wrong."""
    dates, commits, machines = (
        ", ".join(dict.fromkeys(values))
        for values in zip(*((c.date, c.commit, c.machine) for c in cells), strict=True)
    )
    notes = [f"Measured {dates} at commit {commits}, on {machines}. {cost_note}"]
    if any(method.model is None for method in config.methods):
        notes.append(MIXTURE_NOTE)
    failed = [f"{cell.method}, {cell.subject}: {cell.error}" for cell in cells if cell.error]
    return notes + [f"Failed: {line}" for line in failed]


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.0f}" if values else "-"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])
