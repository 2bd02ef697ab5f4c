"""Reading an image: coarse first, then the detail through it, as often as the budget has."""

import pytest
import torch
from torch import Tensor

from seg_prior.inference.amortized import (
    COARSE_SHARE,
    RefineSchedule,
    read,
    refine_schedule,
)
from seg_prior.inference.refine import Observation
from seg_prior.models.image_posterior import posterior_through
from tests.models import toy

NUM_COARSE, NUM_LATENTS = 2, 5
ATLAS = torch.log_softmax(torch.arange(toy.NUM_LABELS * 6.0).view(1, -1, 6).sin(), dim=1)


class Codec:
    """An encoder and a decoder that count, and remember what they were shown."""

    def __init__(self, num_latents: int) -> None:
        self.num_latents = num_latents
        self.seen: list[Tensor] = []
        self.is_coarse: list[bool] = []
        self.decoded: list[Tensor] = []

    def encode(self, soft_labels: Tensor, is_coarse: bool) -> tuple[Tensor, Tensor]:
        self.seen.append(soft_labels)
        self.is_coarse.append(is_coarse)
        mean = torch.full((1, self.num_latents), float(len(self.seen)))
        return mean, -mean

    def decode(self, z: Tensor) -> Tensor:
        self.decoded.append(z)
        return torch.log_softmax(ATLAS * (1 + z.sum()), dim=1)


@pytest.fixture
def seen(rng: torch.Generator) -> Observation:
    image = torch.rand(1, 1, 6, generator=rng)
    return Observation(image, torch.ones_like(image), toy.CLASSES)


def test_the_detail_is_read_from_what_the_coarse_part_says(seen: Observation) -> None:
    codec = Codec(NUM_LATENTS)
    mean, log_var = read(codec.encode, codec.decode, seen, ATLAS, NUM_COARSE, 2)
    # Coarse of the first reading, detail of the last.
    assert mean.tolist() == [[COARSE_SHARE] * 2 + [3.0] * 3]
    assert log_var.tolist() == [[-1.0] * 2 + [-3.0] * 3]
    assert codec.is_coarse == [True, False, False]
    first, second = codec.decoded
    assert first.tolist() == [[COARSE_SHARE] * 2 + [0.0] * 3]
    assert second.tolist() == [[COARSE_SHARE] * 2 + [2.0] * 3]
    priors = [ATLAS, *(Codec(NUM_LATENTS).decode(z) for z in codec.decoded)]
    for shown, log_prior in zip(codec.seen, priors, strict=True):
        expected = posterior_through(log_prior, seen.image, seen.observed, seen.classes)
        torch.testing.assert_close(shown, expected)


def test_without_detail_the_atlas_is_read_once_and_kept_whole(seen: Observation) -> None:
    codec = Codec(NUM_COARSE)
    mean, log_var = read(codec.encode, codec.decode, seen, ATLAS, NUM_COARSE, 0)
    assert mean.tolist() == [[1.0, 1.0]]
    assert log_var.tolist() == [[-1.0, -1.0]]
    assert codec.is_coarse == [False]
    assert not codec.decoded


def test_a_budget_grows_with_the_wish() -> None:
    for has_detail in (True, False):
        budgets = [refine_schedule(wish, has_detail) for wish in ("0", "fast", "full")]
        assert budgets == sorted(budgets)
        assert len(set(budgets)) == 3
        assert refine_schedule(None, has_detail) in budgets
    assert refine_schedule("0", has_detail=False) == RefineSchedule(0, 0)
    assert refine_schedule(None, has_detail=True).num_steps == 0
