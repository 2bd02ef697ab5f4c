"""f(z) corrected by a network that looks at the image, half a voxel of prior space at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from seg_prior.core.device import autocast
from seg_prior.models.image_reader import ImageReader
from seg_prior.models.likelihood import Intensities
from seg_prior.models.location import CELL, LocationPrior
from seg_prior.models.reader_input import FineImage, ReaderSpace, features, moments, on_grid

_PLANES = 8
"""Of prior space whose input is made at once: all of it would be half a gigabyte."""
_VOXELS = 40_000


@dataclass(frozen=True, eq=False)
class Correction:
    """What a network adds to log f(z); not normalised, which a posterior does not ask for.

    Attributes:
        residual: (G, V, 8) h at the eight parts of each voxel of the anatomy mask, half precision.
    """

    residual: Tensor

    @cached_property
    def mean(self) -> Tensor:
        """(G, V): h of a voxel as a whole."""
        return self.residual.float().mean(2)

    def corrected(self, log_prior: Tensor, location: LocationPrior) -> Tensor:
        """log f': (B, L, V) log f(z) -> the same, normalised."""
        return torch.log_softmax(log_prior + location.of_labels(self.mean[None]), dim=1)

    def on_fine_grid(self, coarse: Tensor, group: int, parts: Tensor) -> Tensor:
        """log f' of one label on a grid of half prior space's spacing, up to what all labels share.

        Args:
            coarse: (1, 1, D, H, W) log f(z) of the label.
            group: Which label of results it counts as.
            parts: `parts_of` the anatomy mask.

        Returns:
            (1, 1, 2 D, 2 H, 2 W).
        """
        fine = F.interpolate(coarse, scale_factor=2, mode="trilinear", align_corners=False)
        fine.view(-1)[parts] += self.residual[group].flatten().float()
        return fine


def parts_of(location: LocationPrior) -> Tensor:
    """(8 V,) flat index, on the grid of half the spacing, of the parts of the mask's voxels."""
    _, height, width = location.shape
    voxels = location.voxels
    d, h, w = voxels // (height * width), voxels // width % height, voxels % width
    step = torch.arange(2, device=voxels.device)
    dd = 2 * d[:, None, None, None] + step[:, None, None]
    hh = 2 * h[:, None, None, None] + step[:, None]
    ww = 2 * w[:, None, None, None] + step
    return ((dd * 2 * height + hh) * 2 * width + ww).flatten()


def correct(
    reader: ImageReader,
    location: LocationPrior,
    seen: FineImage,
    log_prior: Tensor,
    intensities: Intensities,
) -> Correction:
    """Look at an image and say what f(z) gets wrong.

    Args:
        reader: The network.
        location: The anatomy mask and the atlas.
        seen: The image, on the grid of half prior space's spacing.
        log_prior: (1, L, V) log f(z).
        intensities: The Gaussians fitted under it.
    """
    space = ReaderSpace.of(location, intensities.classes)
    on_whole = on_grid(location, location.log_by_group(log_prior))[0]
    scale = moments(space, seen)
    depth, height, width = location.shape
    device = log_prior.device
    stems = []
    with torch.inference_mode(), autocast(str(device)):
        for start in range(0, depth, _PLANES):
            box = (slice(start, min(start + _PLANES, depth)), slice(0, height), slice(0, width))
            channels = features(space, seen.at(box), on_whole[:, *box], intensities, scale, box)
            stems.append(reader.stem(channels))
        whole = reader(torch.cat(stems, dim=2))
        groups, voxels = reader.num_groups, location.voxels
        residual = torch.empty(groups, len(voxels), CELL, dtype=torch.float16, device=device)
        for start in range(0, len(voxels), _VOXELS):
            part = slice(start, start + _VOXELS)
            residual[:, part] = reader.residual_at(whole, voxels[part]).transpose(0, 1).half()
    return Correction(residual)
