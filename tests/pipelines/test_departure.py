"""What the figures of departures are made of, by hand."""

import numpy as np
import pytest
import torch

from departure import average_precision, best_threshold, with_lesions
from seg_prior.core.grid import Grid
from seg_prior.core.labels import Label, LabelTable
from seg_prior.core.volume import Volume
from seg_prior.synthesis.contrast import Appearance
from seg_prior.synthesis.sources import Sources


def test_average_precision_by_hand() -> None:
    is_lesion = np.array([True, False, True, False])
    # Precision 1 at the first, 2 / 3 at the second.
    assert average_precision(np.array([4.0, 3.0, 2.0, 1.0]), is_lesion) == pytest.approx(5 / 6)
    # Of one score nothing is known but how many there are.
    assert average_precision(np.ones(4), is_lesion) == pytest.approx(0.5)


def test_the_best_threshold_takes_the_better_sign() -> None:
    grid = Grid((12, 12, 12), np.eye(4))
    lesions = np.zeros(grid.shape, dtype=bool)
    lesions[4:7, 4:7, 4:7] = True
    inside = np.ones(grid.shape, dtype=bool)
    rng = np.random.default_rng(0)
    for sign in (1, -1):
        data = sign * lesions.astype(np.float32) + rng.normal(0, 0.01, grid.shape)
        scan = Volume(data.astype(np.float32), grid)
        assert best_threshold(scan, grid, inside, lesions) == pytest.approx(1)


@pytest.mark.parametrize(
    ("contrast", "low", "high"),
    [("straight", 0.4, 0.8), ("inverted", 0.2, 0.8), ("tent", 0.9, 1.2)],
)
def test_lesions_lie_where_the_contrast_has_them(contrast: str, low: float, high: float) -> None:
    labels = [
        Label(
            id=i,
            name=str(i),
            source_ids=(i,),
            intensity_class=str(i),
            partner_id=i,
            is_structure=i > 0,
        )
        for i in (0, 2, 3, 4, 25)
    ]
    table = LabelTable(labels=tuple(labels))
    sources = Sources.of([2, 3, 4, 25], table, np.zeros(5, dtype=np.float32))
    look = Appearance(torch.tensor([0.0, 0.8, 0.4, 0.2, 0.0]), torch.zeros(5), contrast)
    for place in (0.4, 1.0):
        found = with_lesions(look, sources, place, has_lesions=True).mean
        assert low <= float(found[4]) <= high
        assert found[:4].tolist() == look.mean[:4].tolist()
    assert with_lesions(look, sources, 0.4, has_lesions=False).mean[4] == look.mean[1]
