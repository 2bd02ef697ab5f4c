"""What a comparison says in words is what its numbers say."""

import pytest

from seg_prior.evaluation.comparison import MIXTURE, describe


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        ([0.9, 0.5], "VAE + image reader beats Gaussian mixture: +0.200, better on 1 of 2 heads"),
        ([0.5, 0.4], "VAE + image reader DOES NOT beat Gaussian mixture: -0.050, better on 0 of"),
    ],
)
def test_the_verdict_is_what_the_numbers_say(ours: list[float], verdict: str) -> None:
    dice = {MIXTURE: [0.5, 0.5], "VAE + image reader": ours}
    lines = describe(dice, "VAE + image reader", [MIXTURE], 61.3)
    assert any(line.startswith(verdict) for line in lines)
    assert lines[0].endswith("after 61 s:")
