"""Arrays from one grid onto another: linear for images and probabilities, nearest for labels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seg_prior.core.grid import Affine, Grid

Mode = Literal["linear", "nearest"]

_SLABS = 8  # planes sampled at once: enough to feed several threads, few enough to stay small
_MANY, _FEW = 8, 4  # source voxels in a target voxel's edge: from how many on, and as many left
_SLACK_VOXELS = 0.5 + 1e-3  # a voxel reaches half its edge beyond its centre; 1e-3 for rounding


def resample(data: Tensor, source: Grid, target: Grid, mode: Mode = "linear") -> Tensor:
    """Values of an array at the voxel centres of another grid.

    A source voxel is taken to reach half its edge beyond its centre: there the outermost values
    hold, beyond it the result is zero. No smoothing: onto a coarser grid use `resample_mean`.

    Args:
        data: (C, I, J, K) on `source`, float32.
        source: Where `data` lies. To move it by a world transform A, give Grid(shape, A @ affine).
        target: Where values are wanted.
        mode: "linear" between the eight neighbours, or the "nearest" voxel.

    Returns:
        (C, *target.shape), float32, on the device of `data`.
    """
    assert tuple(data.shape[1:]) == source.shape, (data.shape, source.shape)
    out = torch.zeros((data.shape[0], *target.shape), dtype=torch.float32, device=data.device)
    for planes, index, is_inside in _planes(source, target, data.device):
        # (n, J, K, 3) -> (n, 1, J, K, 3): planes ride as a batch, which is what CPU threads share.
        size = torch.tensor(source.shape, device=data.device)
        position = (2 * index / (size - 1).clamp(min=1) - 1).flip(-1).unsqueeze(1)
        sampled = F.grid_sample(
            data.expand(position.shape[0], *data.shape),
            position,
            mode="bilinear" if mode == "linear" else "nearest",
            padding_mode="border",
            align_corners=True,
        )  # (n, C, 1, J, K)
        out[:, planes] = (sampled[:, :, 0] * is_inside[:, None]).transpose(0, 1)
    return out


def resample_mean(data: Tensor, source: Grid, target: Grid) -> Tensor:
    """Values averaged over each voxel of another grid, so that noise is averaged, not aliased.

    Along each target axis a voxel is sampled at as many equally spaced places as it spans source
    voxels (rounded, at least one); what falls outside the source counts as zero. For an equal or
    finer target this is `resample`. Of a source that is much finer, blocks of voxels are averaged
    first, so that work grows with the voxels of the source and not with their product with the
    target's.

    Args:
        data: (C, I, J, K) on `source`, float32.
        source: Where `data` lies.
        target: Where values are wanted.

    Returns:
        (C, *target.shape), float32.
    """
    data, source = _blocks(data, source, target)
    step = np.linalg.norm(_source_from_target(source, target)[:3, :3], axis=0)
    counts = np.maximum(1, np.rint(step)).astype(int)
    places = [(np.arange(count) + 0.5) / count - 0.5 for count in counts]
    out = torch.zeros((data.shape[0], *target.shape), dtype=torch.float32, device=data.device)
    for offset in itertools.product(*places):
        affine = target.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ np.asarray(offset)
        out += resample(data, source, Grid(target.shape, affine))
    return out / float(counts.prod())


def _blocks(data: Tensor, source: Grid, target: Grid) -> tuple[Tensor, Grid]:
    """Means over blocks of voxels where a target voxel spans many; beyond the source lies zero."""
    span = np.abs(_source_from_target(source, target)[:3, :3]).max(axis=1)
    sizes = np.where(span < _MANY, 1, np.minimum(span // _FEW, source.shape)).astype(int)
    if (sizes == 1).all():
        return data, source
    rest = [int(-n % size) for n, size in zip(source.shape, sizes, strict=True)]
    whole = F.pad(data, [0, rest[2], 0, rest[1], 0, rest[0]])
    means = F.avg_pool3d(whole[None], sizes.tolist())[0]
    affine = source.affine @ np.diag([*sizes, 1.0])
    affine[:3, 3] = source.affine[:3, 3] + source.affine[:3, :3] @ ((sizes - 1) / 2)
    _, i, j, k = means.shape
    return means, Grid((i, j, k), affine)


def resample_observed(pair: Tensor, source: Grid, target: Grid) -> Tensor:
    """An image averaged over what was observed of each voxel of another grid.

    Args:
        pair: (2, I, J, K) on `source`: values, and how much of each voxel was observed, 0 to 1.
        source, target: As for `resample_mean`.

    Returns:
        (2, *target.shape): values, right where at least half was observed; and how much was.
    """
    image, observed = pair
    total, share = resample_mean(torch.stack([image * observed, observed]), source, target)
    return torch.stack([total / share.clamp_min(0.5), share])


def inside(source: Grid, target: Grid) -> Tensor:
    """Which voxel centres of `target` lie in a voxel of `source`.

    Returns:
        target.shape, bool; true where `resample` gives data rather than padding.
    """
    out = torch.zeros(target.shape, dtype=torch.bool)
    for planes, _, is_inside in _planes(source, target, torch.device("cpu")):
        out[planes] = is_inside
    return out


def _source_from_target(source: Grid, target: Grid) -> Affine:
    return np.asarray(np.linalg.inv(source.affine) @ target.affine)


def _planes(
    source: Grid, target: Grid, device: torch.device
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """The target in runs of planes: which, (n, J, K, 3) source voxel index, (n, J, K) inside."""
    source_from_target = _source_from_target(source, target)
    size = torch.tensor(source.shape, device=device)
    first, *axes = (
        torch.outer(torch.arange(n, dtype=torch.float64), torch.from_numpy(column.copy()))
        for n, column in zip(target.shape, source_from_target[:3, :3].T, strict=True)
    )
    origin = torch.from_numpy(source_from_target[:3, 3].copy())
    plane = axes[0][:, None] + axes[1][None] + origin  # (J, K, 3)
    for start in range(0, target.shape[0], _SLABS):
        planes = slice(start, min(start + _SLABS, target.shape[0]))
        index = (first[planes, None, None] + plane).to(device, torch.float32)
        distance = (index - (size - 1) / 2).abs() - (size - 1) / 2  # beyond the outermost centres
        yield planes, index, (distance <= _SLACK_VOXELS).all(-1)
