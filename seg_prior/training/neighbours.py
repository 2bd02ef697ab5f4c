"""How often labels touch: learned from label maps for the draws of any prior that has a latent."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import torch
from torch import Tensor

from seg_prior.models.neighbours import Neighbours, touching
from seg_prior.models.prior import Prior

NUM_DRAWN, ROUNDS, RATE = 12, 12, 0.7
"""Draws that are compared with the maps, how often, and how far each comparison goes."""
LEAST_FACES = 3.0
"""Added to what is counted in an anatomy: of pairs that touch in no map a few faces are chance."""
MOST_NATS = 8.0
"""One pair repels another by; where f is as sure as the floor lets it be, no more is needed."""
log = logging.getLogger(__name__)


@torch.no_grad()
def fit_neighbours(prior: Prior, label_maps: Iterable[Tensor], seed: int) -> None:
    """Give a prior the repulsion with which labels touch in its draws no more than in label maps.

    It rises where a pair touches too often and falls where too seldom, by the logarithm of the
    ratio, as the gradient of the maps' likelihood does (moments are matched). Pairs that touch too
    seldom even without it are left: what attracts makes borders ragged.

    Args:
        prior: With the density, and all else, that draws are made with; on the CPU.
        label_maps: (V,) label indices each.
        seed: Of the draws.
    """
    location, generator = prior.location, torch.Generator().manual_seed(seed)
    num_groups = len(location.groups)

    def faces(labels: Tensor) -> Tensor:
        groups = location.group_of_label[labels.long()]
        return touching(location.scatter(groups[None, None], 0)[0, 0], num_groups)

    wanted = torch.stack([faces(labels) for labels in label_maps]).mean(0)
    draws = (prior.decode(prior.sample(generator)) for _ in range(NUM_DRAWN))
    # Half precision: of a brain at 1 mm each is 0.4 GB in single.
    drawn = [location.log_by_group(log_prior).half() for log_prior in draws]
    neighbours = Neighbours(torch.zeros(num_groups, num_groups))
    before = found = _found(neighbours, drawn, prior)
    for _ in range(ROUNDS):
        step = RATE * ((wanted + LEAST_FACES) / (found + LEAST_FACES)).log()
        neighbours.repulsion.add_(step).fill_diagonal_(0).clamp_(-MOST_NATS, 0)
        found = _found(neighbours, drawn, prior)
    prior.neighbours = neighbours
    log.info(
        "neighbours in draws: %.3f of their faces lie between other labels than in maps, %.3f "
        "where labels that seldom touch move apart",
        _distance(before, wanted),
        _distance(found, wanted),
    )


def _found(neighbours: Neighbours, drawn: list[Tensor], prior: Prior) -> Tensor:
    """(G, G) faces in a draw, on average."""
    settled = (neighbours.settle(each, prior.location) for each in drawn)
    return torch.stack([touching(each, len(neighbours.repulsion)) for each in settled]).mean(0)


def _distance(found: Tensor, wanted: Tensor) -> float:
    """Half the summed differences of shares of all faces."""
    return float((found / found.sum() - wanted / wanted.sum()).abs().sum() / 2)
