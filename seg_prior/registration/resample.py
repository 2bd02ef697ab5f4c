"""Arrays from one grid onto another, linearly: images and probabilities, no ids of labels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from seg_prior.core.grid import Affine, Grid

Channels = Sequence[Tensor] | Tensor
"""C arrays of one shape, or one with C of them along its first axis."""

_SLABS = 8  # planes sampled at once: enough to feed several threads, few enough to stay small
_MANY, _FEW = (
    2.4,
    1.2,
)  # source voxels in a target voxel's edge: from how many on, and how many left
_CROSSING_VOXELS = 1e-3  # that axes which lie along each other may cross
_SLACK_VOXELS = 0.5 + 1e-3  # a voxel reaches half its edge beyond its centre; 1e-3 for rounding


def resample(data: Tensor, source: Grid, target: Grid) -> Tensor:
    """Values of an array, linear between its voxels, at the voxel centres of another grid.

    A source voxel is taken to reach half its edge beyond its centre: there the outermost values
    hold, beyond it the result is zero. No smoothing: onto a coarser grid use `resample_mean`.

    Args:
        data: (C, I, J, K) on `source`, float32.
        source: Where `data` lies. To move it by a world transform A, give Grid(shape, A @ affine).
        target: Where values are wanted.

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
            padding_mode="border",
            align_corners=True,
        )  # (n, C, 1, J, K)
        out[:, planes] = (sampled[:, :, 0] * is_inside[:, None]).transpose(0, 1)
    return out


def resample_mean(data: Channels, source: Grid, target: Grid) -> Tensor:
    """Values averaged over each voxel of another grid, so that noise is averaged, not aliased.

    Along each target axis a voxel is sampled at as many equally spaced places as it spans source
    voxels (rounded, at least one); what falls outside the source counts as zero. For an equal or
    finer target this is `resample`. Where the axes of both grids lie along each other, this is done
    one axis after the other; of another source that is much finer, blocks of voxels are averaged
    first. So work grows with the voxels of the source and not with their product with the target's.

    Args:
        data: C arrays (I, J, K) on `source`, numbers or bool, or one tensor (C, I, J, K).
        source: Where they lie.
        target: Where values are wanted.

    Returns:
        (C, *target.shape), float32.
    """
    source_from_target = _source_from_target(source, target)
    counts = _spans(source_from_target)
    order = _axes_along(source_from_target, target)
    if order is not None and counts.max() > 1:
        return _along_axes(data, source_from_target, order, target.shape, counts)
    span = np.abs(source_from_target[:3, :3]).max(axis=1)
    sizes = np.where(span < _MANY, 1, np.minimum(span // _FEW, source.shape)).astype(int)
    whole, source = block_means(data, source, sizes)
    counts = _spans(_source_from_target(source, target))
    places = [(np.arange(count) + 0.5) / count - 0.5 for count in counts]
    out = torch.zeros((len(whole), *target.shape), dtype=torch.float32, device=whole.device)
    for offset in itertools.product(*places):
        affine = target.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ np.asarray(offset)
        out += resample(whole, source, Grid(target.shape, affine))
    return out / float(counts.prod())


def block_means(data: Channels, grid: Grid, sizes: NDArray[np.int_]) -> tuple[Tensor, Grid]:
    """(C, ...) means over blocks of `sizes` (3,) voxels, float32, and where they lie.

    Beyond the grid lies zero.
    """
    i, j, k = (int(size) for size in sizes)
    shape = tuple(-(-n // int(size)) for n, size in zip(grid.shape, sizes, strict=True))
    if tuple(sizes) == (1, 1, 1):
        return _slab(data, slice(None)), grid
    means = torch.empty((len(data), *shape))
    rest = [int(-n % size) for n, size in zip(grid.shape, sizes, strict=True)]
    for n in range(shape[0]):  # slab by slab: of large arrays there is no second copy
        slab = _slab(data, slice(n * i, (n + 1) * i))
        beyond = rest[0] if n == shape[0] - 1 else 0
        slab = F.pad(slab, [0, rest[2], 0, rest[1], 0, beyond])
        means[:, n] = F.avg_pool3d(slab[None], (i, j, k))[0, :, 0]
    affine = grid.affine @ np.diag([*sizes, 1.0])
    affine[:3, 3] = grid.affine[:3, 3] + grid.affine[:3, :3] @ ((sizes - 1) / 2)
    return means, Grid((shape[0], shape[1], shape[2]), affine)


def _spans(source_from_target: Affine) -> NDArray[np.int_]:
    """(3,) source voxels along each edge of a target voxel, at least 1."""
    edges = np.linalg.norm(source_from_target[:3, :3], axis=0)
    return np.asarray(np.maximum(1, np.rint(edges)).astype(int))


def _slab(data: Channels, planes: slice) -> Tensor:
    """(C, n, J, K) some planes, float32."""
    return torch.stack([channel[planes].float() for channel in data])


def _axes_along(source_from_target: Affine, target: Grid) -> list[int] | None:
    """For each target axis the source axis that it lies along; None where they cross."""
    linear = np.abs(source_from_target[:3, :3])
    order = linear.argmax(axis=0)
    crossing = linear.copy()
    crossing[order, range(3)] = 0
    if len(set(order)) < 3 or (crossing * target.shape).max() > _CROSSING_VOXELS:
        return None
    return [int(axis) for axis in order]


def _along_axes(
    data: Channels,
    source_from_target: Affine,
    order: list[int],
    shape: tuple[int, int, int],
    counts: NDArray[np.int_],
) -> Tensor:
    """`resample_mean` one axis after the other.

    Args:
        data: As there.
        source_from_target: (4, 4), voxel index -> voxel index.
        order: `_axes_along`.
        shape: Of the target.
        counts: (3,) places along each target axis.
    """
    weights = {
        source_axis: _weights(
            data[0].shape[source_axis],
            shape[axis],
            source_from_target[source_axis, axis],
            source_from_target[source_axis, 3],
            int(counts[axis]),
        )
        for axis, source_axis in enumerate(order)
    }
    planes = [
        weights[1] @ _slab(data, slice(i, i + 1))[:, 0] @ weights[2].T
        for i in range(data[0].shape[0])
    ]
    out = torch.einsum("ai,icjk->cajk", weights[0], torch.stack(planes))
    return out.permute(0, *(1 + axis for axis in order)).contiguous()


def _weights(size: int, num: int, step: float, start: float, count: int) -> Tensor:
    """(num, size) what each source voxel of one axis counts in each target voxel.

    Args:
        size: Of the source axis.
        num: Of the target axis.
        step, start: Target voxel t lies at start + step t.
        count: Places in a target voxel.
    """
    offsets = (np.arange(count) + 0.5) / count - 0.5
    place = start + step * (np.arange(num)[:, None] + offsets)
    is_inside = (place >= -_SLACK_VOXELS) & (place <= size - 1 + _SLACK_VOXELS)
    place = np.clip(place, 0, size - 1)
    low = np.minimum(place.astype(int), max(size - 2, 0))
    weights = np.zeros((num, size))
    rows = np.broadcast_to(np.arange(num)[:, None], place.shape)
    for voxel, weight in ((low, 1 - (place - low)), (np.minimum(low + 1, size - 1), place - low)):
        np.add.at(weights, (rows, voxel), weight * is_inside / count)
    return torch.from_numpy(weights).float()


def resample_observed(
    image: Tensor, observed: Tensor, source: Grid, target: Grid
) -> tuple[Tensor, Tensor]:
    """An image averaged over what was observed of each voxel of another grid.

    Args:
        image: (I, J, K) on `source`, 0 where it was not observed.
        observed: (I, J, K), bool, or how much of each voxel was observed, 0 to 1.
        source, target: As for `resample_mean`.

    Returns:
        target.shape each: values, right where at least half was observed; and how much was.
    """
    total, share = resample_mean([image, observed], source, target)
    return total / share.clamp_min(0.5), share


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
