"""The common frame of label maps with few structures: each map is moved until labels coincide.

An affine has twelve numbers, so it takes the centroids of four structures to say what it is. Of
fewer, or of nested ones such as the chambers and the wall of a heart, only all voxels together do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from seg_prior.core.grid import Affine, apply_affine

MIN_LANDMARKS = 4

_NUM_POINTS = 4000  # drawn from the surroundings of each anatomy
_MARGIN = 0.25  # how far these reach beyond the anatomy's box, in sides of the box
_REACH, _CELLS_PER_RADIUS = 3.0, 6  # of the grid on which labels are counted, in radii
_EMPTY = 0.1  # points in a cell that no map reaches
_ROUNDS, _STEPS, _RATE = 6, 30, 0.02
_LINEAR_SD, _NUM_INDEPENDENT = 0.3, 400.0  # of the pose, beside so many independent voxels


@dataclass(frozen=True, eq=False)
class Points:
    """Voxels drawn from one label map.

    Attributes:
        place_mm: (P, 3) world coordinates.
        label: (P,) label indices.
    """

    place_mm: NDArray[np.float64]
    label: NDArray[np.int64]


def draw_points(
    indices: NDArray[np.integer[Any]], affine: Affine, is_structure: NDArray[np.bool_], seed: int
) -> Points:
    """Voxels of the anatomy and of a margin around it, spread evenly in space.

    Args:
        indices: (I, J, K) label indices, with at least one voxel of a structure.
        affine: (4, 4), voxel -> mm.
        is_structure: (L,), which labels bound the anatomy.
        seed: Of the draw.
    """
    inside = np.argwhere(is_structure[indices])
    low, high = inside.min(axis=0), inside.max(axis=0)
    margin = _MARGIN * (high - low + 1)
    # Between voxels too: thick slices would else count as a few sheets.
    index = np.random.default_rng(seed).uniform(
        low - 0.5 - margin, high + 0.5 + margin, (_NUM_POINTS, 3)
    )
    nearest = np.rint(index).astype(int)
    is_known = ((nearest >= 0) & (nearest < indices.shape)).all(axis=1)
    i, j, k = nearest[is_known].T
    return Points(apply_affine(affine, index[is_known]), indices[i, j, k].astype(np.int64))


def sharpen(
    maps: Sequence[Points],
    prior_from_native: Sequence[Affine],
    is_counted: Sequence[bool],
    radius_mm: float,
    num_labels: int,
) -> list[Affine]:
    """Move each map to where the label frequency of all makes its own labels likeliest.

    Maximised in turns over the affines and the frequency, with a Gaussian prior around the affines
    that are given; the mean of the counted maps' linear parts and shifts stays as it was.

    Args:
        maps: Points of N maps.
        prior_from_native: N affines to start from, world mm -> world mm.
        is_counted: Which maps count in the frequency; the others are held out.
        radius_mm: Root mean square radius of the anatomy.
        num_labels: L.
    """
    counted = torch.tensor(is_counted)
    start = [
        torch.from_numpy(apply_affine(move, points.place_mm)).float()
        for move, points in zip(prior_from_native, maps, strict=True)
    ]
    length = max(len(points) for points in start)
    place = torch.stack([F.pad(p, (0, 0, 0, length - len(p))) for p in start])  # (N, P, 3)
    label = torch.stack(
        [F.pad(torch.from_numpy(m.label), (0, length - len(m.label)), value=-1) for m in maps]
    )
    center = place[(label >= 0) & counted[:, None]].mean(0)
    place = (place - center) / radius_mm  # in radii, so that one rate fits linear part and shift
    change = torch.eye(4).repeat(len(maps), 1, 1)
    for _ in range(_ROUNDS):
        log_frequency = _log_frequency(_moved(place, change), label, counted, num_labels)
        change = _climb(place, label, change, log_frequency)
        change = torch.linalg.inv(change[counted].mean(0)) @ change
    scale = torch.diag(torch.tensor([radius_mm, radius_mm, radius_mm, 1.0]))
    to_mm = torch.eye(4)
    to_mm[:3, 3] = center
    to_mm = to_mm @ scale
    moves = (to_mm @ change @ torch.linalg.inv(to_mm)).double().numpy()
    return [move @ first for move, first in zip(moves, prior_from_native, strict=True)]


def _moved(place: Tensor, change: Tensor) -> Tensor:
    """(N, P, 3) points under (N, 4, 4) affines."""
    return place @ change[:, :3, :3].transpose(1, 2) + change[:, None, :3, 3]


def _log_frequency(place: Tensor, label: Tensor, counted: Tensor, num_labels: int) -> Tensor:
    """(1, L, n, n, n) log label frequency on a cubic grid over [-_REACH, _REACH] radii.

    Each point counts in the cell it lies in; a blur shares it with the neighbours.
    """
    side = round(2 * _REACH * _CELLS_PER_RADIUS)
    is_used = (label >= 0) & counted[:, None]
    cell = ((place[is_used] / _REACH + 1) / 2 * side).long().clamp(0, side - 1)
    flat = (cell[:, 0] * side + cell[:, 1]) * side + cell[:, 2]
    count = torch.zeros(num_labels * side**3)
    count.index_add_(0, label[is_used] * side**3 + flat, torch.ones(len(flat)))
    blurred = F.avg_pool3d(
        count.view(1, num_labels, side, side, side), 3, 1, 1, count_include_pad=False
    )
    blurred[:, 0] += _EMPTY  # what no map reaches is background
    blurred += _EMPTY / 100
    return (blurred / blurred.sum(1, keepdim=True)).log()


def _climb(place: Tensor, label: Tensor, change: Tensor, log_frequency: Tensor) -> Tensor:
    """The (N, 4, 4) affines under which the labels are likeliest, a few gradient steps away."""
    is_known = label >= 0
    chosen = label.clamp_min(0)[:, None]
    share = is_known.float() / is_known.sum(1, keepdim=True)
    identity = torch.eye(4)
    free = change.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([free], lr=_RATE)
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = _RATE * (1 - step / _STEPS)  # to come to rest
        unit = (_moved(place, free) / _REACH).flip(-1)[None, :, :, None]
        log_prob = F.grid_sample(log_frequency, unit, padding_mode="border", align_corners=False)[
            0, :, :, :, 0
        ]
        reached = log_prob.transpose(0, 1).gather(1, chosen)[:, 0]  # (N, P)
        spread = ((free - identity)[:, :3, :3] / _LINEAR_SD).square().sum()
        loss = -(reached * share).sum() + 0.5 * spread / _NUM_INDEPENDENT
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        assert free.grad is not None
        free.grad[:, 3] = 0.0  # the last row stays 0 0 0 1
        optimizer.step()
    return free.detach()
