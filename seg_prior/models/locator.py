"""q(s | x) before any registration: which labels lie where in an image's own space, coarsely."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seg_prior.config.networks import LocatorConfig
from seg_prior.models.blocks import (
    Double,
    ResidualBlock,
    channels_last,
    halve,
)

SIDES_OF = 8
"""Voxels that the sides of an image must be multiples of."""

_BRIGHTEST = 1.3
"""Of an image whose 99th percentile is 1, what the network still tells apart."""


class Locator(nn.Module):
    """A U-shaped network from an image to label probabilities, on one isotropic grid.

    It is trained on what a prior makes of unlabelled scans (`commands.train_locator`), so it knows
    one kind of image, and where registration failed on some of these the others outvote them.

    Args:
        num_labels: L, background included.
        config: Its form.
    """

    def __init__(self, num_labels: int, config: LocatorConfig) -> None:
        super().__init__()
        fine, middle, coarse = config.widths
        self.num_labels = num_labels
        self.config = config
        self.stem = nn.Sequential(halve(2, fine), ResidualBlock(fine))
        self.to_middle = _down(fine, middle)
        self.to_coarse = _down(middle, coarse)
        self.coarse_to_middle = Double(coarse, middle)
        self.middle_block = ResidualBlock(middle)
        self.middle_to_fine = Double(middle, fine)
        self.fine_block = ResidualBlock(fine)
        # Each cell of the half-size grid tells of its eight voxels.
        self.head = nn.Sequential(
            nn.GroupNorm(fine // 8, fine), nn.SiLU(), nn.Conv3d(fine, 8 * num_labels, 1)
        )
        channels_last(self)

    def forward(self, image: Tensor) -> Tensor:
        """Log label probabilities.

        Args:
            image: (B, 2, D, H, W), `standardised` intensity and field of view; D, H, W multiples
                of `SIDES_OF`.

        Returns:
            (B, L, D, H, W), float32, each voxel normalised.
        """
        half = self.stem(image.contiguous(memory_format=torch.channels_last_3d))
        middle = self.to_middle(half)
        middle = self.middle_block(middle + self.coarse_to_middle(self.to_coarse(middle)))
        logits = self.head(self.fine_block(half + self.middle_to_fine(middle))).float()
        batch, _, *size = logits.shape
        # (B, L*8, d, h, w) -> (B, L, d, 2, h, 2, w, 2) -> (B, L, 2 d, 2 h, 2 w)
        logits = logits.view(batch, self.num_labels, 2, 2, 2, *size).permute(0, 1, 5, 2, 6, 3, 7, 4)
        whole = [2 * side for side in size]
        return torch.log_softmax(logits.reshape(batch, self.num_labels, *whole), dim=1)


def standardised(image: Tensor, observed: Tensor) -> Tensor:
    """What the network sees: mean 0 and deviation 1 in the field of view, and where that is.

    Args:
        image: (D, H, W), normalised so that 0 to 1 is the usual range.
        observed: (D, H, W), above 0.5 in the field of view.

    Returns:
        (2, D, H, W), float32; 0 where not observed.
    """
    in_view = observed > 0.5
    bounded = image.clamp(0.0, _BRIGHTEST)
    seen = bounded[in_view]
    whitened = (bounded - seen.mean()) / seen.std(correction=0).clamp_min(1e-3)
    return torch.stack([torch.where(in_view, whitened, 0.0), in_view.float()])


def _down(width_in: int, width_out: int) -> nn.Module:
    return nn.Sequential(
        halve(width_in, width_out), ResidualBlock(width_out), ResidualBlock(width_out)
    )
