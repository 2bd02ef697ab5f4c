"""The location prior: its floor, the order of its voxels, and where it looks when it is moved."""

import math

import pytest
import torch
from torch import Tensor

from seg_prior.models.cells import CELL, of_cells
from seg_prior.models.location import FLOOR, LocationPrior, location_prior
from tests.models import toy

SIDES = (8, 12, 16)  # unequal, so that no axis passes for another


@pytest.fixture
def lattice(rng: torch.Generator) -> LocationPrior:
    """Random probabilities in a box that does not touch the border."""
    frequency = torch.zeros(3, *SIDES)
    frequency[0] = 1
    box = torch.rand(3, 3, 5, 8, generator=rng)
    frequency[:, 2:5, 4:9, 4:12] = box / box.sum(0)
    return location_prior(frequency)


def coordinates(location: LocationPrior) -> Tensor:
    """(V, 3) voxel index along D, H, W."""
    full = torch.stack(torch.meshgrid(*[torch.arange(n) for n in location.shape], indexing="ij"))
    return location.gather(full[None].float())[0].T.long()


def log_grid(location: LocationPrior) -> Tensor:
    """(1, L, D, H, W) log p_loc, as its rows have it."""
    everywhere = tuple(slice(0, side) for side in location.shape)
    return location.rows.in_box(everywhere)[0][None]


def slopes(location: LocationPrior) -> Tensor:
    """(3, G, V), 0 where nothing is stored."""
    dense = torch.zeros(3, location.prob_of_group.numel())
    dense[:, location.slope_at.long()] = location.slope.float()
    return dense.view(3, *location.prob_of_group.shape)


def test_every_column_is_normalised_and_above_the_floor(location: LocationPrior) -> None:
    probability = location.log_prob.exp()
    torch.testing.assert_close(probability.sum(0), torch.ones(probability.shape[1]))
    assert probability.min() >= FLOOR / (1 + toy.NUM_LABELS * FLOOR) * (1 - 1e-5)
    assert location.num_labels == toy.NUM_LABELS


def test_floor_and_renormalisation_by_hand() -> None:
    frequency = torch.zeros(3, 4, 4, 4)
    frequency[0] = 0.25
    frequency[1] = 0.75
    log_prob = location_prior(frequency).log_prob
    expected = torch.tensor([0.25, 0.75, FLOOR]) / (1 + FLOOR)
    torch.testing.assert_close(log_prob.exp(), expected[:, None].expand(-1, 64))


def test_kinds_of_background_do_not_widen_the_mask() -> None:
    frequency = torch.zeros(3, 16, 16, 16)
    frequency[2] = 1
    frequency[:2, 7, 7, 7], frequency[2, 7, 7, 7] = 0.5, 0
    assert location_prior(frequency, ((0, 2), (1,))).cells.numel() == 27
    assert location_prior(frequency).cells.numel() == 8**3


def test_labels_that_count_as_one_add_up(lattice: LocationPrior, rng: torch.Generator) -> None:
    grouped = LocationPrior(lattice.log_prob, lattice.cells, lattice.shape, ((0, 2), (1,)))
    alone = grouped.of_groups()
    assert torch.equal(alone.voxels, lattice.voxels)
    assert alone.num_labels == 2
    torch.testing.assert_close(alone.prob[0], lattice.prob[0] + lattice.prob[2])
    torch.testing.assert_close(grouped.prob_of_group, alone.prob)
    log_prob = grouped.log_by_group(lattice.log_prob[None])
    torch.testing.assert_close(log_prob.exp(), grouped.by_group(lattice.prob[None]))
    assert torch.equal(log_prob[0, 1], lattice.log_prob[1])
    assert torch.equal(grouped.of_labels(log_prob)[0, 2], log_prob[0, 0])
    # Whether bone or skin lies outside is no force on the anatomy.
    torch.testing.assert_close(slopes(grouped), slopes(alone), atol=FLOOR, rtol=0)
    soft = torch.softmax(torch.randn(1, 3, 1, generator=rng) + lattice.log_prob, dim=1)
    seen = grouped.by_group(soft)
    torch.testing.assert_close(grouped.force(soft), alone.force(seen), atol=FLOOR, rtol=0)


def test_the_likeliest_label_is_one_of_the_likeliest_group(lattice: LocationPrior) -> None:
    grouped = LocationPrior(lattice.log_prob, lattice.cells, lattice.shape, ((0, 2), (1,)))
    log_prob = torch.tensor([[0.25, 0.3], [0.4, 0.6], [0.35, 0.1]]).log()[None]
    assert grouped.likeliest(log_prob).tolist() == [[2, 1]]
    assert lattice.likeliest(log_prob).tolist() == [[1, 1]]


def test_the_mask_is_made_of_cells_with_one_cell_of_slack() -> None:
    frequency = torch.zeros(2, 16, 16, 16)
    frequency[0] = 1
    frequency[:, 7, 7, 7] = 0.5  # in the cell at (3, 3, 3)
    location = location_prior(frequency)
    found = coordinates(location)
    assert location.cells.numel() == 27
    assert location.voxels.numel() == 27 * CELL
    assert found.min(0).values.tolist() == [4, 4, 4]
    assert found.max(0).values.tolist() == [9, 9, 9]


def test_voxel_v_belongs_to_cell_v_over_8_in_the_order_of_cells(lattice: LocationPrior) -> None:
    index = coordinates(lattice).view(-1, CELL, 3)
    half = torch.stack([index[:, 0, 0] // 2, index[:, 0, 1] // 2, index[:, 0, 2] // 2], dim=1)
    assert torch.equal(index // 2, half[:, None].expand(-1, CELL, -1))
    flat = (half[:, 0] * (SIDES[1] // 2) + half[:, 1]) * (SIDES[2] // 2) + half[:, 2]
    assert torch.equal(flat, lattice.cells)
    corners = torch.tensor([[d, h, w] for d in (0, 1) for h in (0, 1) for w in (0, 1)])
    assert torch.equal(index % 2, corners.expand_as(index))


def test_log_prob_is_the_frequency_of_its_own_voxel(lattice: LocationPrior) -> None:
    grid = lattice.scatter(lattice.log_prob[None].exp(), 0.0)[0]
    assert grid.shape == (3, *SIDES)
    torch.testing.assert_close(grid[:, 3, 5, 10].sum(), torch.tensor(1.0))
    assert not torch.allclose(grid[:, 3, 5, 10], grid[:, 3, 5, 11])
    assert float(grid[0, 1, 4, 4]) == pytest.approx(1 / (1 + 2 * FLOOR))


def test_scatter_is_undone_by_gather_and_fills_the_outside(
    location: LocationPrior, rng: torch.Generator
) -> None:
    values = torch.randn(2, 3, location.voxels.numel(), generator=rng)
    grid = location.scatter(values, -7.0)
    assert torch.equal(location.gather(grid), values)
    num_outside = math.prod(toy.SHAPE) - location.voxels.numel()
    assert num_outside > 0
    assert int((grid == -7).sum()) == 2 * 3 * num_outside


def test_outside_the_mask_background_is_certain(lattice: LocationPrior) -> None:
    assert log_grid(lattice)[0, :, 0, 0, 0].tolist() == pytest.approx(
        [0.0, math.log(FLOOR), math.log(FLOOR)]
    )
    torch.testing.assert_close(lattice.gather(log_grid(lattice))[0], lattice.log_prob)


def test_without_displacement_it_is_the_location_prior_itself(location: LocationPrior) -> None:
    moved = location.sample_moved(torch.zeros(2, 3, 4, 4, 6))
    torch.testing.assert_close(moved[0], location.log_prob, atol=2e-4, rtol=0)
    assert torch.equal(moved[0], moved[1])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("step", [-1, 1])
def test_a_displacement_of_one_voxel_reads_the_next_voxel_along_its_axis(
    lattice: LocationPrior, axis: int, step: int
) -> None:
    displacement = torch.zeros(1, 3, 2, 3, 4)
    displacement[:, axis] = step
    moved = lattice.sample_moved(displacement)[0]
    index = coordinates(lattice)
    index[:, axis] = (index[:, axis] + step).clamp(0, SIDES[axis] - 1)
    expected = log_grid(lattice)[0][:, index[:, 0], index[:, 1], index[:, 2]]
    torch.testing.assert_close(moved, expected, atol=2e-4, rtol=0)


def test_a_coarse_displacement_lies_over_the_voxels_of_its_cell(lattice: LocationPrior) -> None:
    """On the quarter grid voxel 0 covers voxels 0 to 3; between centres it is linear."""
    displacement = torch.zeros(1, 3, 2, 3, 4)
    displacement[:, 2, :, :, 1:] = 1.0
    moved = lattice.sample_moved(displacement)[0]
    index = coordinates(lattice)
    share = ((index[:, 2] - 1.5) / 4).clamp(0, 1)
    low = log_grid(lattice)[0][:, index[:, 0], index[:, 1], index[:, 2]]
    next_w = (index[:, 2] + 1).clamp(max=SIDES[2] - 1)
    high = log_grid(lattice)[0][:, index[:, 0], index[:, 1], next_w]
    torch.testing.assert_close(moved, low + share * (high - low), atol=3e-4, rtol=0)


def test_the_gradient_of_the_move_is_the_slope_of_the_log_prior(lattice: LocationPrior) -> None:
    start = torch.full((1, 3, 1, 1, 1), 0.4).requires_grad_()
    (slope,) = torch.autograd.grad(lattice.sample_moved(start).sum(), start)
    for axis in range(3):
        step = torch.zeros(1, 3, 1, 1, 1)
        step[0, axis] = 0.05
        with torch.no_grad():
            ends = [float(lattice.sample_moved(start + s * step).sum()) for s in (1, -1)]
        assert (ends[0] - ends[1]) / 0.1 == pytest.approx(float(slope[0, axis]), rel=0.02, abs=0.5)


def test_no_force_where_the_labels_are_as_expected(location: LocationPrior) -> None:
    assert not location.force(location.log_prob.exp()[None]).any()


def test_slopes_are_stored_where_probabilities_change(location: LocationPrior) -> None:
    """Against central differences of all labels on the whole grid."""
    of_groups = location.of_groups()
    grid = log_grid(of_groups).exp()[0]
    along = torch.stack(torch.gradient(grid, dim=[1, 2, 3]))
    expected = torch.stack([location.gather(axis[None])[0] for axis in along])
    torch.testing.assert_close(slopes(location), expected, atol=5e-4, rtol=0)
    assert location.slope.shape[1] < 0.9 * location.prob_of_group.numel()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("step", [-1, 1])
def test_the_force_points_where_the_labels_are(
    location: LocationPrior, axis: int, step: int
) -> None:
    """A step along it explains labels that were found one voxel further."""
    displacement = torch.zeros(1, 3, 1, 1, 1)
    displacement[:, axis] = step
    with torch.no_grad():
        labels = torch.softmax(location.sample_moved(displacement), dim=1)
    force = location.force(labels).sum(2)[0]
    assert int(force.abs().argmax()) == axis
    assert float(force[axis]) * step > 0


def test_the_force_is_the_slope_of_the_probability_of_the_labels(lattice: LocationPrior) -> None:
    """By hand at one voxel, from central differences of p along W."""
    grid = log_grid(lattice)[0].exp()
    soft = torch.zeros(1, 3, lattice.voxels.numel())
    soft[:, 1] = 1
    found = lattice.scatter(lattice.force(soft), 0.0)[0]
    residual = torch.tensor([0.0, 1.0, 0.0]) - grid[:, 3, 6, 7]
    slope = (grid[:, 3, 6, 8] - grid[:, 3, 6, 6]) / 2
    assert float(found[2, 3, 6, 7]) == pytest.approx(float(residual @ slope), abs=1e-3)


def test_chosen_cells_are_what_all_of_them_hold(lattice: LocationPrior) -> None:
    cells = torch.tensor([0, 3, 4])
    displacement = torch.zeros(1, 3, 2, 3, 4)
    displacement[:, 1] = 0.7
    everywhere = lattice.sample_moved(displacement)
    torch.testing.assert_close(
        lattice.sample_moved(displacement, cells), of_cells(everywhere, cells)
    )
    assert torch.equal(of_cells(everywhere, None), everywhere)
    wanted = (cells[:, None] * CELL + torch.arange(CELL)).flatten()
    assert torch.equal(of_cells(everywhere, cells), everywhere[..., wanted])
