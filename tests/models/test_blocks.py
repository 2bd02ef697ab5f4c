"""Blocks: what they are before training, and the sizes they make."""

import pytest
import torch

from seg_prior.models.blocks import Double, ResidualBlock, halve


def test_a_residual_block_starts_as_the_identity(rng: torch.Generator) -> None:
    x = torch.randn(2, 16, 3, 4, 5, generator=rng)
    assert torch.equal(ResidualBlock(16)(x), x)


@pytest.mark.parametrize("depth", [1, 16, 17, 40])
def test_a_residual_block_is_the_same_planes_by_planes(depth: int, rng: torch.Generator) -> None:
    block = ResidualBlock(16)
    for weight in block.parameters():
        torch.nn.init.normal_(weight, std=0.3, generator=rng)
    x = torch.randn(2, 16, depth, 4, 5, generator=rng)
    before = x.clone()
    at_once = block(x)  # with a gradient
    with torch.no_grad():
        torch.testing.assert_close(block(x), at_once)
    assert torch.equal(x, before)


def test_halving_looks_at_disjoint_cells(rng: torch.Generator) -> None:
    x = torch.randn(1, 8, 4, 6, 8, generator=rng)
    layer = halve(8, 16)
    before = layer(x)
    x[0, :, 2, 4, 6] += 1
    changed = (layer(x) != before).any(1)[0].nonzero()
    assert before.shape == (1, 16, 2, 3, 4)
    assert changed.tolist() == [[1, 2, 3]]


def test_doubling_keeps_a_constant() -> None:
    out = Double(16, 8)(torch.ones(1, 16, 2, 3, 4)).detach()
    assert out.shape == (1, 8, 4, 6, 8)
    assert float(out.std(dim=(2, 3, 4)).max()) == pytest.approx(0, abs=1e-6)
