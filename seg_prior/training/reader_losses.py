"""What an image reader is taught: the posterior of f', through the likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_prior.models.cells import CELL
from seg_prior.models.likelihood import IntensityClasses, class_log_likelihood
from seg_prior.models.reader_input import FineImage, ReaderSpace, features
from seg_prior.training.patches import Patch, intensities_of

_PRIOR_WEIGHT = 0.1
_DICE_SLACK = 1.0
_MIN_PRESENT = 30
"""Parts of a label that a patch must hold for its Dice to count."""


def reader_losses(
    network: nn.Module, space: ReaderSpace, classes: IntensityClasses, batch: Patch
) -> Mapping[str, Tensor]:
    """Means over a batch of `patch_losses`."""
    each = [
        patch_losses(network, space, classes, batch.one(n)) for n in range(len(batch.is_stripped))
    ]
    return {name: torch.stack([losses[name] for losses in each]).mean() for name in each[0]}


def patch_losses(
    network: nn.Module, space: ReaderSpace, classes: IntensityClasses, patch: Patch
) -> dict[str, Tensor]:
    """Cross entropy and soft Dice of the posterior under f', and a tenth of f's cross entropy.

    The loss passes through the likelihood, so the network learns what intensities leave open.
    `..._before` is what f(z) alone would have.
    """
    classes = replace(classes, is_stripped=bool(patch.is_stripped))
    seen, fitted = FineImage(patch.image, patch.in_view), intensities_of(patch.fitted, classes)
    scale = (patch.scale[0], patch.scale[1])
    channels = features(space, seen, patch.log_prior, fitted, scale, patch.box)
    residual = network(channels, patch.chosen)
    parts = parts_at(patch.chosen, patch.log_prior.shape[1:])
    log_likelihood = likelihood_at(space, classes, patch, parts)
    log_prior = interpolated(patch.log_prior, patch.chosen)
    truth = patch.labels.flatten()[parts].long()
    corrected = torch.log_softmax(log_prior + residual, dim=1)
    posterior = torch.log_softmax(corrected + log_likelihood, dim=1)
    cross_entropy, dice = F.nll_loss(posterior, truth), soft_dice(posterior, truth)
    before = torch.log_softmax(log_prior + log_likelihood, dim=1)
    return {
        "loss": cross_entropy + 1 - dice + _PRIOR_WEIGHT * F.nll_loss(corrected, truth),
        "cross_entropy": cross_entropy,
        "dice": dice,
        "cross_entropy_before": F.nll_loss(before, truth),
        "dice_before": soft_dice(before, truth),
    }


def soft_dice(log_prob: Tensor, truth: Tensor) -> Tensor:
    """Mean over labels that are there: (N, G, 8) log probabilities, (N, 8) labels."""
    prob = log_prob.exp()
    true = F.one_hot(truth, log_prob.shape[1]).movedim(2, 1).to(prob.dtype)
    both, either = (prob * true).sum((0, 2)), (prob + true).sum((0, 2))
    dice = (2 * both + _DICE_SLACK) / (either + _DICE_SLACK)
    is_there = true.sum((0, 2)) > _MIN_PRESENT
    return dice[is_there].mean() if is_there.any() else dice.mean()


def likelihood_at(
    space: ReaderSpace, classes: IntensityClasses, patch: Patch, parts: Tensor
) -> Tensor:
    """(N, G, 8) log p(x | label) at the parts of the chosen voxels."""
    flat = parts.flatten()
    image, weight = (t.flatten(1)[:, flat][None] for t in (patch.image, patch.in_view))
    judge = intensities_of(patch.judge, classes)
    by_class = class_log_likelihood(image, weight, judge)[0].view(-1, *parts.shape)
    log_kind = space.atlas_in(patch.box)[1].flatten(1)[:, patch.chosen, None]
    by_group = by_class[space.class_of_group]
    by_group = torch.cat([space.background(by_class, log_kind), by_group[1:]])
    return by_group.transpose(0, 1)


def interpolated(log_prior: Tensor, voxels: Tensor) -> Tensor:
    """(G, d, h, w) at the eight parts of N voxels, between the voxels' middles: (N, G, 8)."""
    shape = log_prior.shape[1:]
    corner = _position(voxels, shape)[:, None].float()
    place = corner + 0.5 * (_offsets(voxels.device).float() - 0.5)
    size = torch.tensor(shape, device=voxels.device)
    unit = ((2 * place + 1) / size - 1).flip(-1)[None, None]
    found = F.grid_sample(log_prior[None], unit, padding_mode="border", align_corners=False)
    return found.view(log_prior.shape[0], -1, CELL).transpose(0, 1)


def parts_at(voxels: Tensor, shape: Sequence[int]) -> Tensor:
    """(N, 8) flat indices of the parts of voxels on the grid of half the spacing."""
    places = 2 * _position(voxels, shape)[:, None] + _offsets(voxels.device)
    i, j, k = places.unbind(-1)
    return (i * 2 * shape[1] + j) * 2 * shape[2] + k


def _position(voxels: Tensor, shape: Sequence[int]) -> Tensor:
    """(N, 3) of flat indices."""
    rest = shape[1] * shape[2]
    return torch.stack([voxels // rest, voxels // shape[2] % shape[1], voxels % shape[2]], dim=1)


def _offsets(device: torch.device) -> Tensor:
    """(8, 3) of the parts of a voxel, in the order of `reader_input.fold`."""
    step = torch.arange(2, device=device)
    return torch.cartesian_prod(step, step, step)
