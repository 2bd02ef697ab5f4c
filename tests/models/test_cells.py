"""Cells of the anatomy mask: where their voxels lie, and how they are laid side by side."""

import torch

from seg_prior.models.cells import CELL, by_cell, flat_index, voxel_of


def test_a_cell_is_two_voxels_along_each_axis() -> None:
    sides = (4, 4, 6)  # 2 x 2 x 3 cells, so cell 5 is (0, 1, 2)
    places = voxel_of(flat_index(torch.tensor([0, 5]), sides), sides).tolist()
    assert len(places) == 2 * CELL
    assert places[:3] == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert places[CELL:] == [[d, h, w] for d in (0, 1) for h in (2, 3) for w in (4, 5)]


def test_by_cell_puts_a_cell_s_voxels_side_by_side() -> None:
    values = torch.arange(2 * 2 * 2 * CELL).view(2, 2, 2 * CELL)
    found = by_cell(values)
    assert found.shape == (2, 2, 2 * CELL)
    assert found[1, 1, CELL : 2 * CELL].tolist() == values[1, 1, CELL:].tolist()
    assert found[1, 0, CELL : 2 * CELL].tolist() == values[1, 1, :CELL].tolist()
