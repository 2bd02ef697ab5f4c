"""Voxels a run at a time: every voxel once, rows of one sum added up."""

import pytest
import torch

from seg_prior.models.runs import in_runs, runs, summed


def test_runs_hold_every_voxel_once_in_whole_cells() -> None:
    num_voxels = 5 * 10_000 + 8
    parts = runs(num_voxels)
    voxels = torch.arange(num_voxels)
    assert torch.equal(torch.cat([voxels[part] for part in parts]), voxels)
    assert all(part.start % 8 == 0 for part in parts)


@pytest.mark.parametrize("is_differentiated", [True, False])
def test_what_is_made_in_runs_is_what_is_made_at_once(is_differentiated: bool) -> None:
    values = torch.arange(2.0 * 3 * 40_008).view(2, 3, -1).requires_grad_(is_differentiated)
    with torch.set_grad_enabled(is_differentiated):
        found = in_runs(lambda some: 2 * values[..., some], values.shape[2])
    assert torch.equal(found, 2 * values)
    assert found.requires_grad == is_differentiated


def test_rows_of_one_sum_are_added() -> None:
    values = torch.tensor([[[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]]])
    found = summed(values, torch.tensor([1, 0, 1]), 3)
    assert found.tolist() == [[[10.0, 20.0], [101.0, 202.0], [0.0, 0.0]]]
