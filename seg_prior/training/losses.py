"""What a locator is trained to make small."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

_DICE_SLACK = 50.0  # voxels: a structure of a few must not sway the loss


def locator_losses(network: nn.Module, batch: Any, step: int) -> Mapping[str, Tensor]:
    """Cross entropy with the posterior, per voxel of anatomy, and soft Dice over structures, of
    each scan.

    The cross entropy is KL(p(s | x) || q(s | x)) up to the posterior's own entropy; Dice keeps
    small structures from being given up for the background around them.
    """
    image, labels = batch
    in_view = image[:, 1:]
    log_prob = network(image)
    wanted, found = labels * in_view, log_prob.exp() * in_view
    anatomy = wanted[:, 1:].flatten(1).sum(1).clamp_min(_DICE_SLACK)
    cross_entropy = (-(wanted * log_prob).flatten(1).sum(1) / anatomy).mean()
    both = (wanted * found)[:, 1:].flatten(2).sum(2) + _DICE_SLACK
    either = (wanted + found)[:, 1:].flatten(2).sum(2) + 2 * _DICE_SLACK
    dice = (2 * both / either).mean()
    return {"loss": cross_entropy + 1 - dice, "cross_entropy": cross_entropy, "soft_dice": dice}
