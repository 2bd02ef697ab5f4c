"""What contrast, slice thickness and pose cost: Dice of altered scans, each on its own grid.

    python pipelines/robustness.py ../shared/data/brain_t1w --poses 20

Prints a table: mean ± sd (n), the mean change against the scan as it is, and the largest loss.
Poses are dealt to the scans in turn.
"""

import argparse
from pathlib import Path

from experiments.alter import ALTERATIONS, Pair, move
from seg_prior import Segmenter
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.evaluation.dice_table import dice_of_structures, mean_dice, mean_sd_n
from seg_prior.io.label_tables import read_label_table
from seg_prior.io.read import read_label_map, read_volume

TABLE = Path(__file__).resolve().parents[1] / "configs" / "brain_labels.tsv"


def main() -> None:
    """Every alteration on every scan of a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="X_T1w.nii.gz and X_dseg.nii.gz")
    parser.add_argument("--model", type=Path, default=BRAIN_MODEL)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--poses", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    segmenter = Segmenter.load(given.model, threads=given.threads)
    table = read_label_table(given.table).written

    def score(pair: Pair) -> float:
        found = table.remap(segmenter.segment(pair[0]).label_map, "result")
        known = table.remap(pair[1].data, pair[1].source)
        return mean_dice(dice_of_structures(found, known, table), table)

    paths = sorted(given.data.glob("*_dseg.nii.gz"))
    pairs = [
        (read_volume(p.with_name(p.name.replace("_dseg", "_T1w"))), read_label_map(p))
        for p in paths
    ]
    rows = {name: [score(alter(*pair)) for pair in pairs] for name, alter in ALTERATIONS.items()}
    plain = rows["as it is"]
    changes = {name: [a - b for a, b in zip(rows[name], plain, strict=True)] for name in rows}
    turns = range(given.poses)
    rows["pose"] = [score(move(*pairs[n % len(pairs)], seed=n)) for n in turns]
    changes["pose"] = [rows["pose"][n] - plain[n % len(pairs)] for n in turns]
    print("| input | mean17 | change | largest loss |\n|---|---|---|---|")
    for name, scores in rows.items():
        change = sum(changes[name]) / len(scores)
        print(f"| {name} | {mean_sd_n(scores)} | {change:+.3f} | {-min(changes[name]):.3f} |")


if __name__ == "__main__":
    main()
