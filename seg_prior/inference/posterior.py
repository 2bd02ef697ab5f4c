"""p(s | x, z) on the image's own voxels, block by block so that memory stays flat."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from seg_prior.core.grid import Grid
from seg_prior.models.cells import voxel_of
from seg_prior.models.likelihood import Intensities, channel_weight, label_log_likelihood_of
from seg_prior.models.location import LocationPrior
from seg_prior.models.voxel_rows import VoxelRows

_BLOCK_VOXELS = 1 << 15
_PLANES = 16
"""Of prior space that the voxels of one slab lie in."""


class LogPrior(Protocol):
    """log f on the grid of prior space, or on one of half its spacing."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W) of that grid."""

    def in_planes(self, planes: range) -> VoxelRows:
        """What can be read in some planes of it."""


@dataclass(frozen=True, eq=False)
class NativeVoxels:
    """The native voxels that can hold anatomy: observed, and inside the anatomy mask.

    Attributes:
        index: (N,) int32 flat index into the native grid, slab by slab of prior space.
        sizes: How many of them lie in each slab of `_PLANES` planes.
        shape: Of the native grid.
        prior_from_native: (4, 4) voxel index -> voxel index.
    """

    index: Tensor
    sizes: tuple[int, ...]
    shape: tuple[int, int, int]
    prior_from_native: Tensor

    def whole(self, values: Tensor) -> Tensor:
        """(N,) values at these voxels -> (I, J, K) on the CPU, 0 elsewhere."""
        out = torch.zeros(math.prod(self.shape), dtype=values.dtype)
        # Block by block: what puts by index makes long ones of all of them.
        parts = (torch.split(each, _BLOCK_VOXELS) for each in (self.index, values))
        for index, some in zip(*parts, strict=True):
            out[index.cpu()] = some.cpu()
        return out.view(self.shape)

    def blocks(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Slab, part of `index`, and (n, 3) where in prior space it lies, in voxels of its grid."""
        for slab, index in enumerate(torch.split(self.index, list(self.sizes))):
            for some, place in _blocks(index, self.shape, self.prior_from_native):
                yield slab, some, place


def _blocks(
    index: Tensor, shape: tuple[int, int, int], prior_from_native: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Parts of flat indices, and where they lie in prior space."""
    matrix, shift = prior_from_native[:3, :3].T, prior_from_native[:3, 3]
    for some in torch.split(index, _BLOCK_VOXELS) if len(index) else ():
        yield some, voxel_of(some, shape).float() @ matrix + shift


@dataclass(frozen=True, eq=False)
class Posterior:
    """The posterior at N native voxels, in three numbers each, and its sums.

    Attributes:
        best: (N,) uint8 index of the most probable label.
        confidence: (N,) its probability.
        entropy: (N,) in nats, half precision.
        mass: (G,) the probability of each label, summed over voxels.
    """

    best: Tensor
    confidence: Tensor
    entropy: Tensor
    mass: Tensor


def find_native_voxels(
    location: LocationPrior, prior_grid: Grid, native: Grid, observed: Tensor
) -> NativeVoxels:
    """Native voxels to segment.

    Args:
        location: The anatomy mask, on `prior_grid`.
        prior_grid: Where the mask lies.
        native: The image's grid, moved to prior space.
        observed: (I, J, K) bool, the image's field of view.
    """
    device = location.voxels.device
    prior_from_native = torch.from_numpy(np.linalg.inv(prior_grid.affine) @ native.affine)
    prior_from_native = prior_from_native.float().to(device)
    mask = location.scatter(torch.ones(1, 1, location.voxels.numel(), device=device), 0.0)[0, 0] > 0
    sizes = torch.tensor(prior_grid.shape, device=device)
    num_in_plane = native.shape[1] * native.shape[2]
    num_slabs = -(-prior_grid.shape[0] // _PLANES)
    found: list[list[Tensor]] = [[] for _ in range(num_slabs)]
    for i in range(native.shape[0]):  # plane by plane: no coordinate array of the whole volume
        flat = i * num_in_plane + observed[i].flatten().nonzero().flatten().to(device)
        for index, place in _blocks(flat, native.shape, prior_from_native):
            near = place.round().long()
            inside = ((near >= 0) & (near < sizes)).all(1)
            near = near.clamp_(min=torch.zeros_like(sizes), max=sizes - 1)
            inside &= mask[near[:, 0], near[:, 1], near[:, 2]]
            index, slab = index[inside].int(), slab_of(place[inside, 0], num_slabs)
            for n in torch.unique(slab).tolist():
                found[n].append(index[slab == n])
    sizes_of = tuple(sum(map(len, parts)) for parts in found)
    none = torch.zeros(0, dtype=torch.int32, device=device)
    return NativeVoxels(
        torch.cat([none, *itertools.chain(*found)]), sizes_of, native.shape, prior_from_native
    )


def slab_of(plane: Tensor, num_slabs: int) -> Tensor:
    """(N,) places along the first axis of prior space -> (N,) the slab whose planes they are in."""
    return ((plane + 0.25) / _PLANES).floor().clamp(0, num_slabs - 1).to(torch.uint8)


def log_priors(
    prior: LogPrior, location: LocationPrior, where: NativeVoxels
) -> Iterator[tuple[Tensor, Tensor]]:
    """Flat indices of one block of native voxels after the other, and (n, L) log f there.

    Args:
        prior: log f(z) in prior space, or the corrected one on its grid of half the spacing;
            interpolated in log space.
        location: Of the shape of prior space.
        where: The N native voxels.
    """
    finer = prior.shape[0] // location.shape[0]
    for slab, blocks in itertools.groupby(where.blocks(), key=itemgetter(0)):
        # One plane more, between which and the last the outermost places lie.
        stop = min(finer * _PLANES * (slab + 1) + 1, prior.shape[0])
        rows = prior.in_planes(range(finer * _PLANES * slab, stop))
        for _, index, place in blocks:
            yield index, rows.at(finer * place + (finer - 1) / 2)
        del rows  # before the next ones are made


def log_joints(
    prior: LogPrior,
    location: LocationPrior,
    where: NativeVoxels,
    image: Tensor,
    observed: Tensor,
    intensities: Intensities | None,
    power: float = 1.0,
) -> Iterator[Tensor]:
    """log f + power log N(x) at the native voxels, one block of them after the other.

    Args:
        prior: As `log_priors`.
        location: Which labels count as one, and the shape of prior space.
        where: The N native voxels.
        image, observed: (H, I J K) native intensity of each contrast, and its field of view.
        intensities: The image's Gaussians; None leaves the prior alone.
        power: Of the likelihood.

    Yields:
        (n, G), up to what all labels of a voxel share.
    """
    log_likelihood = None
    if intensities is not None:
        log_likelihood = label_log_likelihood_of(image, intensities)
    for index, joint in log_priors(prior, location, where):
        if log_likelihood is not None:
            here = index.to(image.device)
            weight = channel_weight(observed[None, :, here].float())[0]
            joint += power * log_likelihood(
                image[:, here].to(joint.device), weight.to(joint.device)
            )
        yield location.log_by_group(joint[..., None])[..., 0]


def summarise(joints: Iterator[Tensor], num_labels: int) -> Posterior:
    """Argmax, entropy and sums of the posterior, block by block.

    Args:
        joints: (n, G) log joints, from `log_joints`.
        num_labels: G.
    """
    nothing = torch.zeros(0, num_labels)
    parts = [_summary(joint) for joint in joints] or [_summary(nothing)]
    best, confidence, entropy, mass = (list(each) for each in zip(*parts, strict=True))
    parts.clear()
    return Posterior(_joined(best), _joined(confidence), _joined(entropy), torch.stack(mass).sum(0))


def _joined(parts: list[Tensor]) -> Tensor:
    """One tensor of many, which are given free."""
    found = torch.cat(parts)
    parts.clear()
    return found


def _summary(joint: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(n, G) -> best, confidence, entropy, (n,) each, and (G,) sums, which are of doubles."""
    largest, best = joint.max(dim=1)
    below = joint - largest[:, None]
    odds = below.exp()  # of each label to the best
    total = odds.sum(1)
    confidence = 1 / total
    entropy = total.log() - (odds * below).sum(1) * confidence
    return best.byte(), confidence, entropy.clamp_min(0).half(), (odds.T @ confidence).double()
