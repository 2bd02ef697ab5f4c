"""p(s | x, z) on the image's own voxels, block by block so that memory stays flat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seg_prior.core.grid import Grid
from seg_prior.models.likelihood import Intensities, channel_weight, label_log_likelihood_of
from seg_prior.models.location import LocationPrior, voxel_of
from seg_prior.models.voxel_rows import VoxelRows

_BLOCK_VOXELS = 1 << 16


@dataclass(frozen=True, eq=False)
class NativeVoxels:
    """The native voxels that can hold anatomy: observed, and inside the anatomy mask.

    Attributes:
        index: (N,) int32 flat index into the native grid.
        shape: Of the native grid.
        prior_from_native: (4, 4) voxel index -> voxel index.
    """

    index: Tensor
    shape: tuple[int, int, int]
    prior_from_native: Tensor

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Parts of `index`, and (n, 3) where in prior space they lie, in voxels of its grid."""
        matrix, shift = self.prior_from_native[:3, :3].T, self.prior_from_native[:3, 3]
        for index in torch.split(self.index, _BLOCK_VOXELS):
            yield index, voxel_of(index, self.shape).float() @ matrix + shift


@dataclass(frozen=True, eq=False)
class Posterior:
    """The posterior at N native voxels, in three numbers each, and its sums.

    Attributes:
        best: (N,) uint8 index of the most probable label.
        confidence: (N,) its probability.
        entropy: (N,) in nats.
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
    found = []
    for i in range(native.shape[0]):  # slab by slab: no coordinate array of the whole volume
        flat = i * num_in_plane + observed[i].flatten().nonzero().flatten().to(device)
        for index, place in NativeVoxels(flat, native.shape, prior_from_native).blocks():
            near = place.round().long()
            inside = ((near >= 0) & (near < sizes)).all(1)
            near = near.clamp_(min=torch.zeros_like(sizes), max=sizes - 1)
            inside &= mask[near[:, 0], near[:, 1], near[:, 2]]
            found.append(index[inside].int())
    return NativeVoxels(torch.cat(found), native.shape, prior_from_native)


def log_priors(
    prior: VoxelRows, location: LocationPrior, where: NativeVoxels
) -> Iterator[tuple[Tensor, Tensor]]:
    """Flat indices of one block of native voxels after the other, and (n, L) log f there.

    Args:
        prior: log f(z) in prior space, or the corrected one on its grid of half the spacing;
            interpolated in log space.
        location: Of the shape of prior space.
        where: The N native voxels.
    """
    finer = prior.shape[0] // location.shape[0]
    for index, place in where.blocks():
        yield index, prior.at(finer * place + (finer - 1) / 2)


def log_joints(
    prior: VoxelRows,
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
    best, confidence, entropy, mass = zip(*parts, strict=True)
    return Posterior(
        torch.cat(best), torch.cat(confidence), torch.cat(entropy), torch.stack(mass).sum(0)
    )


def _summary(joint: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(n, G) -> best, confidence, entropy, (n,) each, and (G,) sums, which are of doubles."""
    log_probability = torch.log_softmax(joint, dim=1)
    probability = log_probability.exp()
    confidence, best = probability.max(dim=1)
    entropy = -(probability * log_probability).sum(1)
    return best.byte(), confidence, entropy.clamp_min(0), probability.sum(0).double()
