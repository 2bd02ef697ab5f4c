"""Random numbers and fields."""

import pytest
import torch

from seg_prior.synthesis.anatomies import generator_of
from seg_prior.synthesis.fields import choose, happens, smooth_field, uniform


def test_a_field_has_unit_deviation_at_its_knots_and_their_distance() -> None:
    coarse = smooth_field((32, 32, 32), generator_of(0, 0), 4)
    knots = coarse[[0, -1]][:, [0, -1]][:, :, [0, -1]]
    assert coarse.shape == (32, 32, 32)
    assert torch.equal(coarse, smooth_field((32, 32, 32), generator_of(0, 0), 4))
    assert float(knots.abs().max()) > 0
    fine = smooth_field((32, 32, 32), generator_of(0, 0), 4, spacing_mm=1.0, knot_mm=2.0)
    assert float(fine.diff(dim=0).std()) > 2 * float(coarse.diff(dim=0).std())
    same_mm = smooth_field((16, 16, 16), generator_of(0, 0), 4, spacing_mm=2.0, knot_mm=2.0)
    torch.testing.assert_close(float(same_mm.std()), float(fine.std()), rtol=0.3, atol=0)


def test_draws_are_as_often_as_stated() -> None:
    rng = generator_of(0, 0)
    values = [uniform(2.0, 3.0, rng) for _ in range(200)]
    assert 2.0 <= min(values) < 2.1 < 2.9 < max(values) <= 3.0
    assert sum(happens(0.25, rng) for _ in range(400)) == pytest.approx(100, abs=30)
    drawn = [choose({"a": 1.0, "b": 0.0, "c": 3.0}, rng) for _ in range(400)]
    assert drawn.count("b") == 0
    assert drawn.count("a") == pytest.approx(100, abs=30)
