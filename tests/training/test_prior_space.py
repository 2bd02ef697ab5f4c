"""The space of a prior: as large as its anatomies, and never larger than memory."""

from typing import Any

import numpy as np
import pytest
import torch

from seg_prior.config.synthesis import AugmentConfig
from seg_prior.config.training import PriorConfig
from seg_prior.core import memory
from seg_prior.core.grid import Grid
from seg_prior.errors import ConfigError, LabelsError
from seg_prior.io.label_tables import label_table_from_ids
from seg_prior.synthesis.anatomies import AlignedLabelMap
from seg_prior.training.prior_space import prior_grid

TABLE = label_table_from_ids([1])
INDICES = torch.zeros((20, 20, 20), dtype=torch.uint8)
INDICES[5:15, 5:15, 5:15] = 1
GRID = Grid((20, 20, 20), np.diag([2.0, 2.0, 2.0, 1.0]))


def grid_of(*shifts_mm: float, **settings: Any) -> Grid:
    maps = []
    for shift_mm in shifts_mm or (0.0,):
        move = np.eye(4)
        move[0, 3] = shift_mm
        maps.append(AlignedLabelMap(INDICES, GRID, move))
    names = [f"sub-{n}.nii" for n in range(len(maps))]
    return prior_grid(PriorConfig(**settings), names, maps, TABLE)


def test_it_holds_the_anatomy_and_its_margin() -> None:
    grid = grid_of(spacing_mm=2.0, margin_mm=4.0)
    assert all(n * 2 >= 18 + 2 * 4 for n in grid.shape)


def test_a_space_that_does_not_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"spacing_mm: found 0\.001 mm.* GB of memory, found"):
        grid_of(spacing_mm=0.001)
    monkeypatch.setattr(memory, "free_bytes", lambda: 100_000.0)
    with pytest.raises(ConfigError, match="Choose a larger one"):
        grid_of(spacing_mm=2.0)


def test_a_warp_finer_than_the_space_is_refused() -> None:
    warp = {"warp_sd_mm": (1.0,)}
    grid_of(spacing_mm=2.0, augment=AugmentConfig(warp_knots_mm=(1.0,), **warp))
    with pytest.raises(ConfigError, match=r"warp_knots_mm: found 0\.9 mm, need at least .* 1 mm"):
        grid_of(spacing_mm=2.0, augment=AugmentConfig(warp_knots_mm=(0.9,), **warp))


def test_anatomies_that_do_not_meet_are_refused() -> None:
    with pytest.raises(LabelsError, match=r"^sub-2\.nii: found an anatomy that lies 120 mm from"):
        grid_of(0.0, 0.0, 120.0, spacing_mm=2.0)
