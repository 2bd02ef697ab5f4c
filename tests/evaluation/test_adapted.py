"""The page of `adapt` holds the scores of each model side by side."""

import math

from seg_prior.evaluation.adapted import adapted_page, score_table
from seg_prior.metrics.scores import ALL, Spread, SummaryRow

NONE = Spread(math.nan, math.nan, 0)


def row(name: str, dice: Spread) -> SummaryRow:
    return SummaryRow(name, dice, NONE, NONE, NONE)


SCORES = {
    "atlas + EM": (row("LV", Spread(0.5, 0.1, 3)), row(ALL, Spread(0.5, 0.1, 3))),
    "label VAE": (row("LV", Spread(0.7512, math.nan, 1)), row(ALL, NONE)),
}


def test_a_row_is_a_structure_and_a_column_a_model() -> None:
    assert score_table(SCORES) == [
        "| Dice, mean ± sd (n) | atlas + EM | label VAE |",
        "| --- | --- | --- |",
        "| LV | 0.500 ± 0.100 (3) | 0.751 (1) |",
        "| all structures | 0.500 ± 0.100 (3) | - |",
    ]


def test_a_page_says_what_was_found_chosen_and_measured() -> None:
    page = adapted_page("hearts", ["8 images"], "pose: any\n", SCORES, {"loss": "vae/log.png"})
    parts = ["# hearts", "8 images", "pose: any", score_table(SCORES)[2], "- [loss](vae/log.png)"]
    places = [page.index(part) for part in parts]
    assert places == sorted(places)
    assert page.endswith("\n")
