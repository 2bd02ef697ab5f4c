"""What configs/brain_encoder.yaml says of ids fits configs/brain_labels.tsv."""

from pathlib import Path

import numpy as np

from seg_prior.cli.settings import resolve
from seg_prior.commands.train_encoder import Config
from seg_prior.core.freesurfer import MEAN17
from seg_prior.io.label_tables import read_label_table
from seg_prior.synthesis.ageing import named_ids
from seg_prior.synthesis.sources import Sources

CONFIGS = Path(__file__).parents[2] / "configs"
NEEDED = {"prior": Path("p"), "labels": [Path("l")], "out": Path("o")}


def test_ids_are_those_of_the_label_table_and_both_sides_age_alike() -> None:
    synthesis = resolve(Config, CONFIGS / "brain_encoder.yaml", NEEDED).synthesis
    ids = named_ids(synthesis.ageing) | set(synthesis.free_ids)
    scored = {id_ for pair in MEAN17.values() for id_ in pair}
    table = read_label_table(CONFIGS / "brain_labels.tsv", ids | scored | {24})
    typical = np.zeros(len(table.written), dtype=np.float32)
    sources = Sources.of(ids, table, typical)
    partner = dict(zip(sources.ids.tolist(), sources.ids[sources.partner].tolist(), strict=True))
    of_ids = {growth.ids: (growth.border_mm, growth.reach_mm) for growth in synthesis.ageing.growth}
    for growth, form in of_ids.items():
        assert of_ids[tuple(partner[id_] for id_ in growth)] == form
    for pairs in (synthesis.ageing.cortex, synthesis.ageing.lesions):
        assert {partner[a]: partner[b] for a, b in pairs.items()} == pairs
