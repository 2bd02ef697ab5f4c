"""Walks: where they lead, what lies along them, and what is near."""

from pathlib import Path

import numpy as np
import pytest
import torch

from seg_prior.checkpoints.file import load_model
from seg_prior.inference.walks import (
    Walk,
    decode,
    directions_of,
    distances,
    middle,
    title_of,
)
from seg_prior.models.density import Density


def test_a_walk_is_a_line() -> None:
    start, step = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 3.0]])
    walk = Walk("a", "A", start, step, (-1.0, 0.0, 2.0), "sd")
    assert [walk.code(frame).tolist() for frame in range(3)] == [[[1, -1]], [[1, 2]], [[1, 8]]]


def test_directions_of_maps_are_the_principal_ones(tiny_prior: Path) -> None:
    """Codes on two lines that cross at a right angle, the first of them longer."""
    model = load_model(tiny_prior)
    num, coarse = model.prior.num_latents, model.prior.num_coarse
    codes = torch.zeros(5, num)
    codes[0, 3], codes[1, 3] = 2.0, -2.0
    codes[2, 7], codes[3, 7] = 1.0, -1.0
    codes[:, coarse:] = 5.0  # the detail has no part in it
    found = directions_of(model, codes, 2)
    assert found.shape == (2, num)
    assert found[0, 3].abs() == pytest.approx(2**0.5)  # deviation of 2, -2, 0, 0, 0
    assert found[1, 7].abs() == pytest.approx(0.5**0.5)
    assert int((found.abs() > 1e-4).sum()) == 2


def test_directions_of_a_linear_prior_are_its_components(tiny_pca: Path) -> None:
    model = load_model(tiny_pca)
    found = directions_of(model, None, 2)
    torch.testing.assert_close(found, torch.eye(model.prior.num_latents)[:2])


def test_directions_of_a_density_are_those_it_tells_apart(tiny_prior: Path) -> None:
    """Two components, -3 and 3 along the second direction, deviation 1 about each: sqrt(10)."""
    model = load_model(tiny_prior)
    num, coarse = model.prior.num_latents, model.prior.num_coarse
    directions = torch.eye(coarse)[:, [4, 9]].contiguous()
    mean = torch.tensor([[0.0, -3.0], [0.0, 3.0]])
    density = Density(
        torch.full((num,), 0.5),
        torch.full((num,), 2.0),
        directions,
        torch.full((2,), 0.5).log(),
        mean,
        torch.ones(2, 2),
    )
    model.prior.density = density
    found = directions_of(model, None, 5)
    assert found.shape == (2, num)
    assert float(found[0, 9]) == pytest.approx(2 * 10**0.5)
    assert float(found[1, 4]) == pytest.approx(2)
    assert int((found != 0).sum()) == 2
    assert (middle(model.prior) == 0.5).all()


def test_the_first_direction_of_a_network_changes_volumes_most(tiny_prior: Path) -> None:
    """More than random directions of the same length do."""
    model = load_model(tiny_prior)
    is_structure = model.header.label_table.written.is_structure

    def change(direction: torch.Tensor) -> float:
        ends = [decode(model, sign * direction).volumes_mm3[is_structure] for sign in (-1, 1)]
        return float(np.linalg.norm(np.log(ends[1] / ends[0])))

    [first] = directions_of(model, None, 1)
    assert float(first.norm()) == pytest.approx(1, rel=1e-4)
    rng = torch.Generator().manual_seed(0)
    for _ in range(3):
        other = torch.randn(first.shape, generator=rng)
        other[model.prior.num_coarse :] = 0
        assert change(first[None]) > 2 * change(other[None] / other.norm())


def test_an_anatomy_has_the_volumes_of_its_probabilities(tiny_pca: Path) -> None:
    model = load_model(tiny_pca)
    anatomy = decode(model, middle(model.prior))
    assert anatomy.label_map.shape == model.header.shape
    voxel_mm3 = model.header.grid.voxel_volume_mm3
    inside = model.location.voxels.numel() * voxel_mm3
    assert anatomy.volumes_mm3.sum() == pytest.approx(inside, rel=1e-4)
    counted = np.bincount(anatomy.label_map.ravel(), minlength=len(anatomy.volumes_mm3)) * voxel_mm3
    assert anatomy.volumes_mm3[1:] == pytest.approx(counted[1:], rel=0.4, abs=3000)


def test_distance_is_the_root_of_the_mean_square_of_the_coarse_part(tiny_prior: Path) -> None:
    prior = load_model(tiny_prior).prior
    z = torch.zeros(1, prior.num_latents)
    codes = torch.zeros(2, prior.num_latents)
    codes[0, : prior.num_coarse] = 3.0
    codes[1, prior.num_coarse :] = 3.0
    np.testing.assert_allclose(distances(prior, z, codes), [3.0, 0.0], rtol=1e-6)


def test_a_title_names_what_changes_most() -> None:
    told = title_of(np.log([1.5, 0.4, 1.01]).tolist(), ["A", "B", "C"], num=2)
    assert told == "B -60%, A +50%"
