"""A sheet of six scans: image, atlas + EM, ours, reference, from what the benchmark measured.

    python pipelines/sheet.py docs/benchmark_sheet.jpg --config configs/benchmark.yaml

Of the first data set, ordered by our Dice, the worst scan, the best, and four evenly between.
"""

import argparse
import os
from pathlib import Path

import numpy as np

from experiments import scoring
from experiments.benchmark import Cell, find_scans
from experiments.benchmark_page import known_dice
from experiments.config import BenchmarkConfig
from experiments.picture import write_jpeg
from seg_prior.cli.settings import resolve
from seg_prior.cli.talk import talking
from seg_prior.evaluation.dice_table import mean_dice
from seg_prior.io.label_tables import read_label_table
from seg_prior.io.nifti import read_label_map, read_volume
from seg_prior.report.overlay import Panel

ROOT = Path(__file__).resolve().parents[1]
NUM_SCANS = 6


def main() -> None:
    """Draw what is in the cache; what is not there is measured first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "benchmark.yaml")
    parser.add_argument("--rival", default="atlas + EM, tied as brain.yaml")
    parser.add_argument("--ours", default="VAE, refine fast")
    given = parser.parse_args()
    data = Path(os.environ.get("SEG_PRIOR_DATA", ROOT.parent / "shared" / "data"))
    config = resolve(BenchmarkConfig, given.config, {"data": data})
    dataset = config.datasets[0]
    table = read_label_table(config.tables / dataset.label_table).written
    cells = {(c.method, c.subject): c for c in scoring.run(dataset, config)}

    def dice(cell: Cell) -> float:
        return mean_dice(known_dice(cell), table)

    ordered = sorted(find_scans(dataset, config), key=lambda s: dice(cells[given.ours, s.subject]))
    chosen = np.linspace(0, len(ordered) - 1, min(NUM_SCANS, len(ordered))).round().astype(int)
    panels = []
    for scan in (ordered[n] for n in chosen):
        volume = read_volume(scan.image)
        panels.append(Panel(scan.subject, volume.grid, volume.data))
        for method in (given.rival, given.ours):
            cell = cells[method, scan.subject]
            found = read_label_map(cell.label_map)
            indices = table.remap(found.data, found.source)
            panels.append(Panel(f"{method}: {dice(cell):.3f}", volume.grid, volume.data, indices))
        known = read_label_map(scan.reference)
        indices = table.remap(known.data, known.source)
        panels.append(Panel("reference", volume.grid, volume.data, indices))
    write_jpeg(given.out, panels, table, num_columns=4)


if __name__ == "__main__":
    with talking():
        main()
