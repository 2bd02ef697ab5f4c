"""p(s | x, z) on the image's own voxels, label by label so that memory stays flat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seg_prior.core.grid import Grid
from seg_prior.inference.correction import Correction, parts_of
from seg_prior.models.likelihood import Intensities, tabulated_class_log_likelihood
from seg_prior.models.location import FLOOR, LocationPrior


@dataclass(frozen=True, eq=False)
class NativeVoxels:
    """The native voxels that can hold anatomy: observed, and inside the anatomy mask.

    Attributes:
        index: (N,) flat index into the native grid.
        position: (1, N, 1, 1, 3) place in the prior grid as `grid_sample` wants it, -1 and 1 its
            outer faces: on a grid of half the spacing it is the same place.
    """

    index: Tensor
    position: Tensor


@dataclass(frozen=True, eq=False)
class Posterior:
    """The posterior at N native voxels, in four numbers each.

    Attributes:
        best: (N,) uint8 index of the most probable label.
        confidence: (N,) its probability.
        entropy: (N,) in nats.
        log_evidence: (N,) log sum_l exp(log joint), which normalises the joint of any label.
    """

    best: Tensor
    confidence: Tensor
    entropy: Tensor
    log_evidence: Tensor


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
    _, height, width = (int(n) for n in native.shape)
    index_parts, position_parts = [], []
    for i in range(native.shape[0]):  # slab by slab: no coordinate array of the whole volume
        flat = observed[i].flatten().nonzero().flatten().to(device)
        voxel = torch.stack([torch.full_like(flat, i), flat // width, flat % width], dim=1).float()
        place = voxel @ prior_from_native[:3, :3].T + prior_from_native[:3, 3]
        near = place.round().long()
        inside = ((near >= 0) & (near < sizes)).all(1)
        near = near.clamp_(min=torch.zeros_like(sizes), max=sizes - 1)
        inside &= mask[near[:, 0], near[:, 1], near[:, 2]]
        index_parts.append(i * height * width + flat[inside])
        position_parts.append(place[inside])
    position = torch.cat(position_parts)
    unit = (2 * position + 1) / sizes - 1
    return NativeVoxels(torch.cat(index_parts), unit.flip(1)[None, :, None, None])


def log_joints(
    log_prior: Tensor,
    location: LocationPrior,
    where: NativeVoxels,
    image: Tensor,
    observed: Tensor,
    intensities: Intensities | None,
    likelihood_power: float = 1.0,
    correction: Correction | None = None,
) -> Iterator[Tensor]:
    """log f + power * log N(x) at the native voxels, one label of results after the other.

    Args:
        log_prior: (1, L, V) log f(z) in prior space, or the corrected one; interpolated in log
            space.
        location: Where the V voxels lie, and which labels count as one.
        where: The N native voxels.
        image, observed: (H, N) native intensity of each contrast, and its field of view.
        intensities: The image's Gaussians; None leaves the prior alone.
        likelihood_power: Power of the likelihood.
        correction: What a network has added to `log_prior`, told apart by half voxels.

    Yields:
        (N,), G times.
    """
    by_class = None
    if intensities is not None:
        by_class = tabulated_class_log_likelihood(image[None], observed[None], intensities)[0]
        by_class *= likelihood_power
    floor = float(np.log(FLOOR))
    to_fine = None
    if correction is not None:
        to_fine = partial(correction.on_fine_grid, parts=parts_of(location))

    def joint_of(label: int) -> Tensor:
        """(N,), the label's prior interpolated between voxels of prior space."""
        values = log_prior[:, label : label + 1]
        group = int(location.group_of_label[label])
        if correction is not None:
            values = values - correction.mean[group]
        grid = location.scatter(values, 0.0 if label == 0 else floor)
        if to_fine is not None:
            grid = to_fine(grid, group)
        joint = F.grid_sample(
            grid, where.position, padding_mode="border", align_corners=False
        ).flatten()
        if by_class is not None and intensities is not None:
            joint = joint + by_class[int(intensities.classes.class_of_label[label])]
        return joint

    for first, *kinds in location.groups:
        joint = joint_of(first)
        for label in kinds:
            joint = torch.logaddexp(joint, joint_of(label))
        yield joint


def summarise(joints: Iterator[Tensor]) -> Posterior:
    """Argmax, entropy and evidence in one pass over labels.

    With a = log joint and Z = sum exp a: entropy = log Z - sum a exp(a) / Z; the sums are kept
    relative to the running maximum.
    """
    highest = next(joints)
    best = torch.zeros(highest.shape, dtype=torch.uint8, device=highest.device)
    total = torch.ones_like(highest)
    moment = torch.zeros_like(highest)  # sum of (a - highest) exp(a - highest)
    highest = highest.clone()
    for label, joint in enumerate(joints, start=1):
        step = joint - highest
        is_better = step > 0
        # A new maximum rescales what was summed before.
        rise = step.clamp_min(0)
        shrink = torch.exp(-rise)
        moment = shrink * (moment - rise * total)
        total = shrink * total
        fall = step.clamp_max(0)
        weight = torch.exp(fall)
        moment += fall * weight
        total += weight
        highest += rise
        best[is_better] = label
    entropy = total.log() - moment / total
    return Posterior(best, 1 / total, entropy.clamp_min(0), highest + total.log())
