"""Warps against flows that are known in closed form."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seg_prior.models.warp import integrate, to_unit

SIDES = (12, 10, 14)


def indices(shape: tuple[int, int, int] = SIDES) -> Tensor:
    """(1, 3, D, H, W)."""
    return torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in shape], indexing="ij"))[
        None
    ]


def smooth_velocity(rng: torch.Generator, size: float) -> Tensor:
    knots = torch.randn(1, 3, 4, 4, 4, generator=rng) * size
    return F.interpolate(knots, size=SIDES, mode="trilinear", align_corners=True)


def moved_by(first: Tensor, second: Tensor) -> Tensor:
    """Displacement of x -> y + second(y), y = x + first(x)."""
    position = to_unit(indices() + first, first.shape[2:]).movedim(1, -1)
    further: Tensor = F.grid_sample(second, position, padding_mode="border", align_corners=True)
    return first + further


def jacobian_determinants(displacement: Tensor) -> Tensor:
    """Of x -> x + displacement(x), by forward differences."""
    place = (indices() + displacement)[0]
    d = place[:, 1:, :-1, :-1] - place[:, :-1, :-1, :-1]
    h = place[:, :-1, 1:, :-1] - place[:, :-1, :-1, :-1]
    w = place[:, :-1, :-1, 1:] - place[:, :-1, :-1, :-1]
    determinants: Tensor = (d * torch.linalg.cross(h, w, dim=0)).sum(0)
    return determinants


def test_no_velocity_no_displacement() -> None:
    assert not integrate(torch.zeros(1, 3, *SIDES)).any()


def test_constant_velocity_is_the_displacement() -> None:
    velocity = torch.tensor([1.5, -0.5, 2.0]).view(1, 3, 1, 1, 1).expand(1, 3, *SIDES)
    torch.testing.assert_close(integrate(velocity), velocity.contiguous(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_linear_velocity_grows_exponentially(axis: int) -> None:
    """dx/dt = a (x - c) ends at c + e^a (x - c)."""
    rate = -0.4
    offset = indices()[:, axis] - (SIDES[axis] - 1) / 2
    velocity = torch.zeros(1, 3, *SIDES)
    velocity[:, axis] = rate * offset
    found = integrate(velocity)
    torch.testing.assert_close(found[:, axis], math.expm1(rate) * offset, atol=0.02, rtol=0)
    assert float(found.abs().sum()) == pytest.approx(float(found[:, axis].abs().sum()))


def test_a_rotating_velocity_rotates() -> None:
    """dx/dt = w x (x - c) turns by |w| radians in the plane of D and H."""
    angle = 0.3
    d, h, _ = (indices() - (torch.tensor(SIDES).view(1, 3, 1, 1, 1) - 1) / 2)[0]
    velocity = angle * torch.stack([-h, d, torch.zeros_like(d)])[None]
    found = integrate(velocity)[0]
    turned_d = math.cos(angle) * d - math.sin(angle) * h - d
    turned_h = math.sin(angle) * d + math.cos(angle) * h - h
    inner = (slice(3, -3), slice(3, -3), slice(None))  # whose path stays inside
    torch.testing.assert_close(found[0][inner], turned_d[inner], atol=0.03, rtol=0)
    torch.testing.assert_close(found[1][inner], turned_h[inner], atol=0.03, rtol=0)


def test_the_opposite_velocity_is_the_way_back() -> None:
    d, h, w = 2 * math.pi / 20 * indices()[0]
    velocity = 2 * torch.stack([torch.sin(h + w), torch.sin(w - d), torch.cos(d + h)])[None]
    there, back = integrate(velocity), integrate(-velocity)
    inner = moved_by(there, back)[:, :, 3:-3, 3:-3, 3:-3]
    assert there.abs().max() > 1.9
    assert inner.abs().max() < 0.15
    assert inner.square().mean() < 0.04**2 * there.square().mean()


def test_a_smooth_field_folds_nothing(rng: torch.Generator) -> None:
    velocity = smooth_velocity(rng, 2.0)
    assert (jacobian_determinants(velocity) < 0).any()  # without integration it would fold
    assert (jacobian_determinants(integrate(velocity)) > 0).all()


def test_to_unit_names_voxels_as_grid_sample_does(rng: torch.Generator) -> None:
    field = torch.randn(1, 1, *SIDES, generator=rng)
    index = torch.tensor([[2.0, 7.0, 11.0], [11.0, 9.0, 13.0], [0.0, 0.0, 0.0]])
    position = to_unit(index.T[None], torch.Size(SIDES)).transpose(1, 2)[:, :, None, None]
    found = F.grid_sample(field, position, align_corners=True).flatten()
    expected = [float(field[0, 0, int(d), int(h), int(w)]) for d, h, w in index]
    assert found.tolist() == pytest.approx(expected, abs=1e-4)
