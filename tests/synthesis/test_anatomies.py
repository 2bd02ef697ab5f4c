"""What training draws: label maps sampled where they should be, and items that are pure."""

import numpy as np
import pytest
import torch
from torch import Tensor

from seg_prior.config.synthesis import AugmentConfig
from seg_prior.core.grid import Grid, apply_affine
from seg_prior.models.location import LocationPrior
from seg_prior.synthesis.anatomies import (
    AlignedLabelMap,
    RandomAnatomies,
    generator_of,
    sample_labels,
    some_cells,
)
from tests.models import toy
from tests.synthesis.test_deformation import STILL

SIDE = 8


def cube(spacing_mm: float = 2.0) -> Grid:
    """World 0 lies in the middle."""
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = -spacing_mm * (SIDE - 1) / 2
    return Grid((SIDE, SIDE, SIDE), affine)


@pytest.fixture
def noise_map(rng: torch.Generator) -> AlignedLabelMap:
    """No two places look alike."""
    indices = torch.randint(1, 200, (SIDE, SIDE, SIDE), generator=rng).to(torch.uint8)
    return AlignedLabelMap(indices, cube(), np.eye(4))


def lopsided() -> AlignedLabelMap:
    """Its left nucleus is larger than its right one, which is nearer to the front."""
    labels = toy.label_map()
    labels[3:7, 5:11, 9:16] = toy.LEFT
    labels[11, 8, 14:19] = toy.RIGHT
    return AlignedLabelMap(labels, toy.grid(), np.eye(4))


def anatomies(
    location: LocationPrior,
    config: AugmentConfig = STILL,
    seed: int = 0,
    has_sides: bool = True,
) -> RandomAnatomies:
    partner = toy.table().partner if has_sides else np.arange(toy.NUM_LABELS)
    maps = [lopsided()]
    return RandomAnatomies(
        maps, toy.grid(), location.voxels, partner, config, num_latents=6, seed=seed, length=40
    )


def mirrored() -> Tensor:
    """(16, 16, 24) the mirror image of `lopsided`, sides swapped."""
    partner = torch.tensor([0, 1, 2, 4, 3], dtype=torch.uint8)
    return partner[lopsided().indices.flip(0).long()]


def test_on_its_own_grid_a_map_stays_as_it_is(noise_map: AlignedLabelMap) -> None:
    found = sample_labels(noise_map, cube())
    assert torch.equal(found, noise_map.indices)
    assert found.dtype == torch.uint8


def test_a_quarter_turn_by_hand(noise_map: AlignedLabelMap) -> None:
    """At (x, y) one sees what lay at (-y, x)."""
    turn = torch.eye(4, dtype=torch.float64)
    turn[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    found = sample_labels(noise_map, cube(), turn)
    for i, j, k in ((0, 0, 0), (1, 5, 2), (7, 3, 6)):
        assert found[i, j, k] == noise_map.indices[SIDE - 1 - j, i, k]
    assert torch.equal(found, noise_map.indices.flip(0).transpose(0, 1))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_displacement_looks_one_voxel_further(noise_map: AlignedLabelMap, axis: int) -> None:
    displacement = torch.zeros(3, SIDE, SIDE, SIDE)
    displacement[axis] = 1
    found = sample_labels(noise_map, cube(), displacement=displacement)
    expected = noise_map.indices.roll(-1, axis).clone()
    expected.select(axis, SIDE - 1).zero_()  # out of its field of view
    assert torch.equal(found, expected)


def test_a_displacement_comes_before_the_transform(noise_map: AlignedLabelMap) -> None:
    turn = torch.eye(4, dtype=torch.float64)
    turn[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    displacement = torch.zeros(3, SIDE, SIDE, SIDE)
    displacement[0] = 1
    found = sample_labels(noise_map, cube(), turn, displacement)
    turned = sample_labels(noise_map, cube(), turn)
    assert torch.equal(found[:-1], turned[1:])


def test_native_voxels_and_the_way_to_prior_space_are_honoured(
    noise_map: AlignedLabelMap,
) -> None:
    """A flipped file of another spacing on its way 5 mm to the left."""
    affine = np.diag([-3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = [10.0, -9.0, -12.0]
    shift = np.eye(4)
    shift[0, 3] = -5.0
    placed = AlignedLabelMap(noise_map.indices, Grid((SIDE, SIDE, SIDE), affine), shift)
    found = sample_labels(placed, cube())
    num_outside = 0
    for index in np.ndindex(SIDE, SIDE, SIDE):
        world = apply_affine(cube().affine, np.array([index]))
        native = (np.linalg.inv(shift @ affine) @ np.append(world[0], 1))[:3]
        near = tuple(np.rint(native).astype(int))
        is_inside = all(0 <= n < SIDE for n in near)
        num_outside += not is_inside
        assert found[index] == (noise_map.indices[near] if is_inside else 0)
    assert 0 < num_outside < SIDE**3


def test_without_spread_an_item_is_its_map(location: LocationPrior) -> None:
    labels, noise = anatomies(location)[5]
    assert torch.equal(labels, toy.inside(location, lopsided().indices)[0])
    assert labels.dtype == torch.uint8
    assert noise.shape == (6,)


def test_flips_swap_partners_in_half_of_the_draws(location: LocationPrior) -> None:
    flipping = anatomies(location, STILL.model_copy(update={"flip": True}))
    plain = toy.inside(location, lopsided().indices)[0]
    mirror = toy.inside(location, mirrored())[0]
    assert not torch.equal(plain, mirror)
    is_flipped = []
    for n in range(len(flipping)):
        labels, _ = flipping[n]
        assert torch.equal(labels, plain) or torch.equal(labels, mirror)
        is_flipped.append(torch.equal(labels, mirror))
    assert 10 < sum(is_flipped) < 30


def test_without_partners_nothing_is_flipped(location: LocationPrior) -> None:
    config = STILL.model_copy(update={"flip": True})
    plain = toy.inside(location, lopsided().indices)[0]
    one_sided = anatomies(location, config, has_sides=False)
    assert all(torch.equal(one_sided[n][0], plain) for n in range(20))


def test_an_item_depends_on_seed_and_number_alone(location: LocationPrior) -> None:
    config = AugmentConfig()
    first, second = anatomies(location, config), anatomies(location, config)
    for n in (7, 2):  # in any order
        for a, b in zip(first[n], second[n], strict=True):
            assert torch.equal(a, b)
    labels, noise = first[2]
    for other in (first[3], anatomies(location, config, seed=1)[2]):
        assert not torch.equal(labels, other[0])
        assert not torch.equal(noise, other[1])
    assert len(first) == 40


def test_global_randomness_has_no_say(location: LocationPrior) -> None:
    torch.manual_seed(1)
    labels, noise = anatomies(location, AugmentConfig())[0]
    torch.manual_seed(2)
    again, noise_again = anatomies(location, AugmentConfig())[0]
    assert torch.equal(labels, again)
    assert torch.equal(noise, noise_again)


def test_every_map_is_drawn(location: LocationPrior) -> None:
    maps = [AlignedLabelMap(m, toy.grid(), np.eye(4)) for m in toy.label_maps()]
    dataset = RandomAnatomies(
        maps, toy.grid(), location.voxels, toy.table().partner, STILL, 1, seed=0, length=60
    )
    drawn = {bytes(dataset[n][0].numpy()) for n in range(60)}
    assert len(drawn) == len(maps)


def test_later_maps_are_drawn_from_their_item_on_and_change_nothing_before(
    location: LocationPrior,
) -> None:
    first = anatomies(location)
    other = AlignedLabelMap(toy.label_map(0.8), toy.grid(), np.eye(4))
    both = anatomies(location)
    both.later, both.since = [other], 10
    for item in (0, 9):
        assert torch.equal(first[item][0], both[item][0])
    expected = toy.inside(location, other.indices)[0]
    flipped = toy.inside(location, _flipped(other.indices))[0]
    for item in (10, 39):
        found = both[item][0]
        assert torch.equal(found, expected) or torch.equal(found, flipped)


def _flipped(labels: Tensor) -> Tensor:
    partner = torch.tensor([0, 1, 2, 4, 3], dtype=torch.uint8)
    return partner[labels.flip(0).long()]


def test_generators_of_neighbours_are_unrelated() -> None:
    draws = torch.stack(
        [torch.randn(500, generator=generator_of(s, n)) for s in (0, 1) for n in (0, 1, 2)]
    )
    correlation = torch.corrcoef(draws) - torch.eye(6)
    assert correlation.abs().max() < 0.2
    assert torch.equal(draws[0], torch.randn(500, generator=generator_of(0, 0)))


def test_some_cells_are_a_share_of_the_mask_and_other_ones_at_every_step(
    location: LocationPrior,
) -> None:
    num_cells = location.cells.numel()
    first = some_cells(location, 0.25, 3, 10)
    again, next_ = some_cells(location, 0.25, 3, 10), some_cells(location, 0.25, 3, 11)
    assert first is not None
    assert again is not None
    assert next_ is not None
    assert torch.equal(first, again)
    assert not torch.equal(first, next_)
    assert first.numel() == round(0.25 * num_cells)
    assert first.unique().numel() == first.numel()
    assert 0 <= int(first.min()) <= int(first.max()) < num_cells
    assert some_cells(location, 1.0, 3, 10) is None
