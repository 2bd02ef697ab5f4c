"""Rows of voxels against grid_sample."""

import pytest
import torch
from torch.nn import functional as F

from seg_prior.models.voxel_rows import VoxelRows

SHAPE = (5, 4, 6)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float16, 5e-3)])
def test_rows_are_read_as_grids_are(dtype: torch.dtype, atol: float, rng: torch.Generator) -> None:
    voxels = torch.randperm(5 * 4 * 6, generator=rng)[:70]
    values, outside = torch.randn(70, 3, generator=rng), torch.tensor([[0.0, -1.0, 2.0]])
    grid = outside.T.repeat(1, 5 * 4 * 6)
    grid[:, voxels] = values.T
    size = torch.tensor(SHAPE)
    place = torch.rand(500, 3, generator=rng) * (size + 2) - 1.5  # some of it beyond all faces
    unit = (2 * place / (size - 1) - 1).flip(1)[None, :, None, None]
    expected = F.grid_sample(
        grid.view(1, 3, *SHAPE), unit, padding_mode="border", align_corners=True
    )
    rows = VoxelRows.of(torch.cat([values, outside]).to(dtype), voxels, SHAPE)
    torch.testing.assert_close(rows.at(place), expected[0, :, :, 0, 0].T, atol=atol, rtol=0)


def test_at_a_voxel_it_is_its_own_values() -> None:
    rows = VoxelRows.of(torch.arange(9.0)[:, None], torch.arange(8), (2, 2, 2))
    assert rows.at(torch.tensor([[1, 0, 1], [1, 1, 1]])).tolist() == [[5.0], [7.0]]
    assert rows.at(torch.zeros(0, 3)).shape == (0, 1)


def test_a_box_is_read_with_what_is_outside() -> None:
    rows = VoxelRows.of(torch.tensor([[5.0], [6.0], [-1.0]]), torch.tensor([4, 7]), (2, 2, 2))
    values, is_outside = rows.in_box((slice(1, 2), slice(0, 2), slice(0, 2)))
    assert values.tolist() == [[[[5.0, -1.0], [-1.0, 6.0]]]]
    assert is_outside.tolist() == [[[False, True], [True, False]]]
