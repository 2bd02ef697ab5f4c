"""What labels may touch is learned from how often they do in label maps."""

import pytest
import torch
from torch import Tensor

from seg_prior.models.label_vae import one_hot
from seg_prior.models.linear import LinearPrior, fit_components
from seg_prior.models.location import LocationPrior
from seg_prior.models.neighbours import touching
from seg_prior.training.neighbours import MOST_NATS, NUM_DRAWN, fit_neighbours
from tests.models import toy


@pytest.fixture
def maps(location: LocationPrior) -> list[Tensor]:
    """(V,) label indices of six anatomies."""
    return [toy.inside(location, labels)[0] for labels in toy.label_maps()]


@pytest.fixture
def prior(location: LocationPrior, maps: list[Tensor]) -> LinearPrior:
    return fit_components(location, [one_hot(m[None], toy.NUM_LABELS)[0] for m in maps], 3)


def faces_of_draws(prior: LinearPrior) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    drawn = [prior.labels_of(prior.sample(generator)) for _ in range(NUM_DRAWN)]
    return torch.stack([touching(each, toy.NUM_LABELS) for each in drawn]).mean(0)


def without(maps: list[Tensor], location: LocationPrior) -> list[Tensor]:
    """Where the left nucleus touches the core, it is of the shell: they touch nowhere."""
    found = []
    for labels in maps:
        grid = location.scatter(labels[None, None].long(), 0)[0, 0]
        left = grid == toy.LEFT
        near = torch.zeros_like(left)
        for axis in range(3):
            for step in (1, -1):
                near |= torch.roll(grid == toy.CORE, step, axis)
        grid[left & near] = toy.SHELL
        found.append(location.gather(grid[None, None])[0, 0])
    return found


def test_what_touches_as_often_as_in_maps_is_left_alone(
    prior: LinearPrior, maps: list[Tensor]
) -> None:
    before = faces_of_draws(prior)
    fit_neighbours(prior, maps, 0)
    assert prior.neighbours is not None
    repulsion = prior.neighbours.repulsion
    assert torch.equal(repulsion, repulsion.T)
    assert not repulsion.diagonal().any()
    assert -MOST_NATS <= float(repulsion.min()) <= float(repulsion.max()) <= 0
    after = faces_of_draws(prior)
    often = before > 100
    torch.testing.assert_close(after[often], before[often], rtol=0.3, atol=0)


def test_what_touches_in_no_map_moves_apart_in_draws(
    prior: LinearPrior, maps: list[Tensor], location: LocationPrior, talk: pytest.LogCaptureFixture
) -> None:
    before = faces_of_draws(prior)
    pair = (toy.LEFT, toy.CORE)
    assert before[pair] > 40
    fit_neighbours(prior, without(maps, location), 0)
    assert prior.neighbours is not None
    assert prior.neighbours.repulsion[pair] == prior.neighbours.repulsion.min() < -1
    assert faces_of_draws(prior)[pair] < 0.1 * before[pair]
    (line,) = [line for line in talk.messages if line.startswith("neighbours in draws")]
    first, second = (float(word) for word in line.replace(",", "").split() if word[:2] == "0.")
    assert second < first


def test_a_seed_repeats_itself(prior: LinearPrior, maps: list[Tensor]) -> None:
    found = []
    for seed in (0, 0, 1):
        prior.neighbours = None
        fit_neighbours(prior, maps, seed)
        assert prior.neighbours is not None
        found.append(prior.neighbours.repulsion.clone())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
