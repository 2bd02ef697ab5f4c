import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import seg_prior.registration.resample as resampling
from seg_prior.core.grid import Grid, apply_affine
from seg_prior.registration.resample import inside, resample, resample_mean


def rotation(angle: float) -> NDArray[np.float64]:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn


def centered(shape: tuple[int, int, int], affine: NDArray[np.float64]) -> Grid:
    """The grid with its middle at the world's origin."""
    affine = affine.copy()
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def shear() -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[0, 1], affine[2, 0] = 0.3, -0.2
    return affine


AWKWARD = {
    "plain": centered((22, 20, 18), np.eye(4)),
    "oblique": centered((21, 26, 23), rotation(0.5)),
    "flipped": centered((22, 19, 20), np.diag([-1.0, 1, -1, 1])),
    "anisotropic": centered((25, 17, 7), np.diag([0.9, 1.3, 3.0, 1])),
    "sheared": centered((24, 25, 22), shear()),
    "permuted": centered((18, 22, 20), np.eye(4)[:, [2, 0, 1, 3]]),
}


def positions_mm(grid: Grid) -> NDArray[np.float64]:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    return apply_affine(grid.affine, index.reshape(-1, 3)).reshape(*grid.shape, 3)


def ramp(grid: Grid) -> Tensor:
    """A field linear in the world: linear interpolation makes no error on it."""
    values = 5 + positions_mm(grid) @ np.array([0.3, -0.7, 1.1])
    return torch.from_numpy(values[None]).float()


def waves(grid: Grid) -> Tensor:
    return torch.from_numpy(np.sin(positions_mm(grid) / 4).prod(-1)[None]).float()


@pytest.mark.parametrize(("source", "target"), list(itertools.product(AWKWARD, repeat=2)))
def test_a_linear_field_is_the_same_on_every_grid(source: str, target: str) -> None:
    inner = Grid(tuple(n - 2 for n in AWKWARD[source].shape), AWKWARD[source].affine)  # type: ignore[arg-type]
    inner = centered(inner.shape, inner.affine)
    is_inner = inside(inner, AWKWARD[target])
    got = resample(ramp(AWKWARD[source]), AWKWARD[source], AWKWARD[target])
    assert is_inner.any()
    torch.testing.assert_close(
        got[0][is_inner], ramp(AWKWARD[target])[0][is_inner], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("name", AWKWARD)
def test_there_and_back_is_the_identity(name: str) -> None:
    grid = AWKWARD[name]
    fine = centered((90, 90, 90), np.diag([0.4, 0.4, 0.4, 1]))
    there = resample(waves(grid), grid, fine)
    back = resample(there, fine, grid)
    # Inside, beyond the reach of the outermost voxels.
    core = (slice(None), *[slice(2, -2)] * 3)
    assert (back - waves(grid))[core].abs().max() < 0.03
    assert waves(grid)[core].abs().max() > 0.3
    torch.testing.assert_close(resample(waves(grid), grid, grid), waves(grid), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("order", "flips"), [((2, 0, 1), (0,)), ((1, 0, 2), (0, 1, 2))])
def test_reorienting_the_input_changes_nothing_in_the_world(
    order: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    grid = AWKWARD["sheared"]
    data, affine = waves(grid).permute(0, *[axis + 1 for axis in order]), grid.affine.copy()
    affine[:, :3] = affine[:, list(order)]
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (data.shape[axis + 1] - 1)
        affine[:3, axis] *= -1
        data = data.flip(axis + 1)
    i, j, k = data.shape[1:]
    turned, target = Grid((i, j, k), affine), AWKWARD["oblique"]
    torch.testing.assert_close(
        resample(data, turned, target), resample(waves(grid), grid, target), atol=1e-4, rtol=0
    )
    assert torch.equal(inside(turned, target), inside(grid, target))


def test_a_world_transform_moves_the_source() -> None:
    grid = centered((5, 5, 5), np.diag([2.0, 2, 2, 1]))
    data = torch.zeros(1, 5, 5, 5)
    data[0, 2, 2, 2] = 1
    shift = np.eye(4)
    shift[0, 3] = 2.0  # one voxel to the right
    moved = resample(data, Grid(grid.shape, shift @ grid.affine), grid)
    assert moved[0, 3, 2, 2] == pytest.approx(1)
    assert moved.sum() == pytest.approx(1)


def test_voxels_reach_half_their_edge_and_no_further() -> None:
    source = Grid((4, 4, 4), np.eye(4))
    line = np.diag([0.2, 1.0, 1.0, 1.0])
    line[:3, 3] = -0.8, 1, 1
    target = Grid((30, 1, 1), line)  # x = -0.8, -0.6, ... 5.0
    data = torch.arange(1.0, 5.0)[None, :, None, None].expand(1, 4, 4, 4)
    got = resample(data, source, target)[0, :, 0, 0]
    x = torch.arange(30) * 0.2 - 0.8
    is_in = (x > -0.5) & (x < 3.5)
    torch.testing.assert_close(got, torch.where(is_in, x.clamp(0, 3) + 1, 0.0), atol=1e-5, rtol=0)
    assert torch.equal(inside(source, target)[:, 0, 0], is_in)


def test_nothing_lies_outside() -> None:
    grid = AWKWARD["plain"]
    shift = np.eye(4)
    shift[0, 3] = 100
    far = Grid(grid.shape, shift @ grid.affine)
    assert resample(waves(grid) + 2, grid, far).abs().max() == 0
    assert not inside(grid, far).any()


def test_the_mean_of_coarse_voxels_is_the_mean_of_blocks() -> None:
    data = torch.rand(2, 8, 6, 4, generator=torch.Generator().manual_seed(0))
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = 0.5
    got = resample_mean(data, Grid((8, 6, 4), np.eye(4)), Grid((4, 3, 2), affine))
    blocks = data.reshape(2, 4, 2, 3, 2, 2, 2).mean((2, 4, 6))
    torch.testing.assert_close(got, blocks, atol=1e-5, rtol=0)


def test_the_mean_averages_noise_where_samples_alias_it() -> None:
    grid = centered((48, 48, 48), np.eye(4))
    coarse = centered((10, 10, 10), rotation(0.3) @ np.diag([3.0, 3, 3, 1]))
    noise = torch.randn(1, 48, 48, 48, generator=torch.Generator().manual_seed(0))
    assert resample(noise, grid, coarse).std() > 0.4
    assert resample_mean(noise, grid, coarse).std() < 0.25  # 27 voxels: about 0.19


def test_the_mean_onto_a_finer_grid_is_the_interpolation() -> None:
    grid, fine = AWKWARD["anisotropic"], centered((30, 30, 30), np.diag([0.5, 0.5, 0.5, 1]))
    assert torch.equal(resample_mean(waves(grid), grid, fine), resample(waves(grid), grid, fine))


@pytest.mark.parametrize(
    "turned", [np.eye(4), np.diag([-1.0, 1, -1, 1]), np.eye(4)[:, [2, 0, 1, 3]]]
)
def test_one_axis_after_the_other_is_the_mean_of_all_places(
    turned: NDArray[np.float64], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = centered((23, 30, 17), turned)
    target = Grid((9, 8, 14), centered((9, 8, 14), np.diag([2.2, 3.7, 1.4, 1])).affine.copy())
    target.affine[:3, 3] += 3.3  # some of it beyond the source
    pair = torch.cat([waves(source), torch.ones(1, *source.shape)])
    found = resample_mean(pair, source, target)
    monkeypatch.setattr(resampling, "_MANY", 1e9)
    monkeypatch.setattr(resampling, "_axes_along", lambda *_: None)
    expected = resample_mean(pair, source, target)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert 0 < float((expected[1] == 0).float().mean()) < 0.5


@pytest.mark.parametrize("name", AWKWARD)
def test_means_of_a_much_finer_source_are_right_and_their_work_is_bounded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    coarse = AWKWARD[name]
    affine = coarse.affine @ np.diag([1 / 12, 1 / 2, 1 / 30, 1])
    fine = centered((103, 16, 211), affine)
    small = centered((10, 10, 9), coarse.affine)
    count = 0
    plain = resampling.resample

    def counted(*args: object) -> Tensor:
        nonlocal count
        count += 1
        return plain(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(resampling, "resample", counted)
    pair = torch.cat([waves(fine), torch.ones(1, *fine.shape)])
    found = resample_mean(pair, fine, small)
    assert count <= 8**3
    monkeypatch.setattr(resampling, "_MANY", 1e9)
    exact = resample_mean(pair, fine, small)
    whole = exact[1] > 0.999
    assert int(whole.sum()) > 50
    assert float((found - exact)[:, whole].abs().max()) < 0.01
    assert float((found - exact)[1].abs().max()) < 0.13  # at the border, half a block
