"""Densities of z fitted to codes of anatomies; how narrow they are is told by people left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from seg_prior.errors import ConfigError
from seg_prior.models.density import Density, Mixture, along_directions

MAX_DIRECTIONS = 8
"""Of the coarse part, along which a density is told; a kernel density of tens of codes in more
dimensions is little else than a normal."""
MAX_COMPONENTS = 6
LEAST_PEOPLE = 3
"""Of fewer nobody can be left out."""
_BANDWIDTHS = [0.1 * 1.2**n for n in range(18)]
"""In deviations of the codes along each direction: 0.1 to 2.2."""
_LEAST_SHARE = 0.05
"""Of the variance of all codes, which a component keeps at least: one code alone has none."""
_LEAST_SCALE = 0.1
"""Of the usual deviation, which every number of z has at least."""
_EM_ROUNDS, _NUM_STARTS, _NUM_FOLDS = 40, 5, 5


@dataclass(frozen=True, eq=False)
class Codes:
    """What an encoder says of label maps.

    Attributes:
        mean: (N, K) of q(z | s).
        drawn: (N, K) a draw of q(z | s) each; the mean where q is a point.
        people: Whose map it is; all maps of one person are left out together.
        num_coarse: How many of the K numbers, the first, say where structures lie.
    """

    mean: Tensor
    drawn: Tensor
    people: Sequence[str]
    num_coarse: int


def fit_density(kind: str, codes: Codes, is_standard: bool) -> tuple[Density, dict[str, float]]:
    """p(z) of codes.

    Args:
        kind: normal, mixture or kde.
        codes: Of the training maps.
        is_standard: Whether codes were trained to be N(0, I), which is then taken at its word
            where nothing else is told; else each number of z has its mean and deviation.

    Returns:
        The density, and what a person should know: directions, components, bandwidth, and
        `gain_nats`, what the code of a person left out gains in log density over N(0, I), the
        directions being those of all people. Nothing of a normal.

    Raises:
        ConfigError: Too few people for others to be left out.
    """
    center, scale = (torch.zeros(()), torch.ones(())) if is_standard else _moments(codes.mean)
    if kind == "normal":
        return along_directions(center, scale, torch.zeros(0, 0)), {}
    check_people(kind, set(codes.people))
    led = ((codes.mean - center) / scale)[:, : codes.num_coarse]
    directions = leading_directions(led, min(MAX_DIRECTIONS, len(set(codes.people)) - 1))
    w = ((codes.drawn - center) / scale)[:, : codes.num_coarse] @ directions
    found, told = (_kernels if kind == "kde" else _components)(w, codes.people)
    density = Density(center, scale, directions, found.log_weight, found.mean, found.sd)
    return density, {"directions": float(directions.shape[1])} | told


def check_people(kind: str, people: Collection[str]) -> None:
    """Whether there are people enough for a mixture or a kernel density.

    Raises:
        ConfigError: There are not.
    """
    if len(people) < LEAST_PEOPLE:
        raise ConfigError(
            f"density: found label maps of {len(people)} people, need at least {LEAST_PEOPLE} for "
            f"a {kind}, whose width is told by people left out. Add label maps, or leave out "
            "--density."
        )


def leading_directions(led: Tensor, num: int) -> Tensor:
    """(N, K') -> (K', D) principal directions of codes, D of at most `num`, sorted."""
    num = min(num, led.shape[0] - 1, led.shape[1])
    rows: Tensor = torch.linalg.svd(led - led.mean(0), full_matrices=False).Vh
    return rows[:num].T.contiguous()


def kernel_density(w: Tensor, bandwidth: float) -> Mixture:
    """A normal around each of (N, D) codes, `bandwidth` deviations of the codes wide."""
    log_weight = torch.full((len(w),), -math.log(len(w)))
    return Mixture(log_weight, w, (bandwidth * w.std(0).clamp_min(1e-4)).expand_as(w).contiguous())


def gaussian_mixture(w: Tensor, num: int) -> Mixture:
    """M normals fitted to (N, D) codes by EM; of several starts, the likeliest."""
    generator = torch.Generator().manual_seed(0)
    starts = [torch.randperm(len(w), generator=generator)[:num] for _ in range(_NUM_STARTS)]
    found = [_expectation_maximisation(w, w[start]) for start in starts[: 1 if num == 1 else None]]
    return max(found, key=lambda mixture: float(mixture.log_prob(w).sum()))


def _expectation_maximisation(w: Tensor, mean: Tensor) -> Mixture:
    """From (M, D) means, as wide as all codes together."""
    spread = w.var(0, unbiased=False).clamp_min(1e-8)
    sd = spread.sqrt().expand_as(mean)
    found = Mixture(torch.full((len(mean),), -math.log(len(mean))), mean, sd)
    for _ in range(_EM_ROUNDS):
        share = found.log_joint(w).softmax(1)  # (N, M)
        total = share.sum(0).clamp_min(1e-6)[:, None]
        mean = share.T @ w / total
        var = (share.T @ w.square() / total - mean.square()).clamp_min(0)
        log_weight = (total[:, 0] / total.sum()).log()
        found = Mixture(log_weight, mean, torch.maximum(var, _LEAST_SHARE * spread).sqrt())
    return found


def _moments(mean: Tensor) -> tuple[Tensor, Tensor]:
    """(K,) mean and deviation of each number; one code alone has the deviation 1."""
    if len(mean) < 2:
        return mean[0], torch.ones_like(mean[0])
    sd = mean.std(0)
    return mean.mean(0), sd.clamp_min(max(1e-3, _LEAST_SCALE * float(sd.square().mean().sqrt())))


def _kernels(w: Tensor, people: Sequence[str]) -> tuple[Mixture, dict[str, float]]:
    """The bandwidth under which each person is likeliest when left out."""
    by_one = _folds(people, len(set(people)))
    found = {b: _left_out(w, by_one, partial(kernel_density, bandwidth=b)) for b in _BANDWIDTHS}
    best = max(found, key=lambda b: found[b])
    told = {"components": float(len(w)), "bandwidth": best}
    return kernel_density(w, best), told | {"gain_nats": found[best] - _of_normal(w)}


def _components(w: Tensor, people: Sequence[str]) -> tuple[Mixture, dict[str, float]]:
    """The number of components under which people left out are likeliest."""
    folds = _folds(people, min(_NUM_FOLDS, len(set(people))))
    most = min(MAX_COMPONENTS, len(set(people)) // 2)
    found = {
        num: _left_out(w, folds, partial(gaussian_mixture, num=num)) for num in range(1, most + 1)
    }
    best = max(found, key=lambda num: found[num])
    told = {"components": float(best)}
    return gaussian_mixture(w, best), told | {"gain_nats": found[best] - _of_normal(w)}


def _folds(people: Sequence[str], num: int) -> list[Tensor]:
    """(N,) bool each, who is left out."""
    order = {person: n % num for n, person in enumerate(dict.fromkeys(people))}
    fold_of = torch.tensor([order[person] for person in people])
    return [fold_of == n for n in range(num)]


def _left_out(w: Tensor, folds: list[Tensor], fit: Callable[[Tensor], Mixture]) -> float:
    """Mean log density of each code under what is fitted to other people's."""
    total = sum(float(fit(w[~out]).log_prob(w[out]).sum()) for out in folds)
    return total / len(w)


def _of_normal(w: Tensor) -> float:
    return float(-0.5 * w.square().sum(1).mean())
