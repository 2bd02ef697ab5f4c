"""Random affines and warps: their spread in millimetres, and that nothing folds."""

import math

import pytest
import torch
from torch import Tensor

from seg_prior.config.synthesis import AugmentConfig
from seg_prior.synthesis.deformation import _smooth_upsample, random_affine, random_warp

STILL = AugmentConfig(
    rotation_sd_deg=0, shear_sd=0, log_scale_sd=0, shift_sd_mm=0, warp_sd_mm=(0.0, 0.0), flip=False
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def affines(**spread: float) -> Tensor:
    """(500, 4, 4) draws with only the named parts switched on."""
    config = STILL.model_copy(update=spread)
    return torch.stack([random_affine(config, seeded(n)) for n in range(500)])


def warps(config: AugmentConfig, shape: tuple[int, int, int], spacing_mm: float) -> Tensor:
    """(20, 3, D, H, W) displacements in millimetres."""
    return spacing_mm * torch.stack(
        [random_warp(shape, spacing_mm, config, seeded(n)) for n in range(20)]
    )


def test_without_spread_nothing_moves(rng: torch.Generator) -> None:
    assert torch.equal(random_affine(STILL, rng), torch.eye(4, dtype=torch.float64))
    assert not random_warp((8, 8, 16), 2.0, STILL, rng).any()


def test_rotations_are_rotations_of_the_stated_spread() -> None:
    linear = affines(rotation_sd_deg=2.0)[:, :3, :3]
    torch.testing.assert_close(linear @ linear.mT, torch.eye(3).double().expand(500, -1, -1))
    assert (torch.linalg.det(linear) > 0).all()
    for row, column in ((2, 1), (0, 2), (1, 0)):  # about x, y, z
        angle = (linear[:, row, column] - linear[:, column, row]) / 2
        assert float(angle.std()) == pytest.approx(math.radians(2.0), rel=0.12)
        assert float(angle.mean()) == pytest.approx(0, abs=math.radians(0.3))


def test_scale_shear_and_shift_have_the_stated_spread() -> None:
    scales = affines(log_scale_sd=0.03)[:, :3, :3].diagonal(dim1=1, dim2=2).log()
    assert scales.std(0).tolist() == pytest.approx([0.03] * 3, rel=0.12)
    shears = affines(shear_sd=0.015)
    assert shears[:, [0, 0, 1], [1, 2, 2]].std(0).tolist() == pytest.approx([0.015] * 3, rel=0.12)
    assert not shears[:, [1, 2, 2], [0, 0, 1]].any()
    shifts = affines(shift_sd_mm=1.5)[:, :3, 3]
    assert shifts.std(0).tolist() == pytest.approx([1.5] * 3, rel=0.12)


def test_upsampled_noise_keeps_its_deviation_at_the_knots(rng: torch.Generator) -> None:
    noise = torch.randn(1, 3, 20, 20, 20, generator=rng)
    inner = _smooth_upsample(noise, [20, 20, 20])[..., 2:-2, 2:-2, 2:-2]
    assert float(inner.std()) == pytest.approx(1.0, abs=0.05)
    between = _smooth_upsample(noise, [77, 77, 77])[..., 8:-8, 8:-8, 8:-8]
    assert float(between.std()) == pytest.approx(0.74, abs=0.05)


def test_a_warp_has_the_stated_spread_in_millimetres() -> None:
    """At knots sd times a strength uniform in 0..1 (rms 0.58), and 0.74 of it between knots."""
    config = STILL.model_copy(update={"warp_knots_mm": (24.0,), "warp_sd_mm": (2.0,)})
    found = warps(config, (32, 32, 40), 3.0).square().mean().sqrt()
    assert float(found) == pytest.approx(2.0 * 0.58 * 0.74, rel=0.15)


def test_a_warp_does_not_depend_on_the_voxel_size() -> None:
    """On a grid of half the spacing anatomies bend by as many millimetres."""
    config = STILL.model_copy(update={"warp_knots_mm": (40.0,), "warp_sd_mm": (3.0,)})
    coarse, fine = warps(config, (24, 32, 24), 4.0), warps(config, (48, 64, 48), 2.0)
    ratio = coarse.square().mean().sqrt() / fine.square().mean().sqrt()
    assert float(ratio) == pytest.approx(1, abs=0.15)


def test_a_warp_folds_nothing() -> None:
    config = AugmentConfig()
    for n in range(3):
        displacement = random_warp((40, 48, 40), 2.0, config, seeded(n)).double()
        axes = [torch.arange(m, dtype=torch.float64) for m in displacement.shape[1:]]
        place = torch.stack(torch.meshgrid(*axes, indexing="ij")) + displacement
        d = place[:, 1:, :-1, :-1] - place[:, :-1, :-1, :-1]
        h = place[:, :-1, 1:, :-1] - place[:, :-1, :-1, :-1]
        w = place[:, :-1, :-1, 1:] - place[:, :-1, :-1, :-1]
        determinant = (d * torch.linalg.cross(h, w, dim=0)).sum(0)
        assert determinant.min() > 0.2
        assert displacement.abs().max() > 0.3


def test_a_generator_of_one_state_gives_one_anatomy() -> None:
    config = AugmentConfig()
    first, again = seeded(3), seeded(3)
    assert torch.equal(random_affine(config, first), random_affine(config, again))
    warp = random_warp((8, 8, 16), 4.0, config, first)
    assert torch.equal(warp, random_warp((8, 8, 16), 4.0, config, again))
    assert not torch.equal(warp, random_warp((8, 8, 16), 4.0, config, again))
    assert warp.shape == (3, 8, 8, 16)
