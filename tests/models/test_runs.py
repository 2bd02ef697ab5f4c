"""Voxels a run at a time: every voxel once, rows of one sum added up."""

import torch

from seg_prior.models.runs import runs, summed


def test_runs_hold_every_voxel_once_in_whole_cells() -> None:
    num_voxels = 5 * 10_000 + 8
    parts = runs(num_voxels)
    voxels = torch.arange(num_voxels)
    assert torch.equal(torch.cat([voxels[part] for part in parts]), voxels)
    assert all(part.start % 8 == 0 for part in parts)


def test_rows_of_one_sum_are_added() -> None:
    values = torch.tensor([[[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]]])
    found = summed(values, torch.tensor([1, 0, 1]), 3)
    assert found.tolist() == [[[10.0, 20.0], [101.0, 202.0], [0.0, 0.0]]]
