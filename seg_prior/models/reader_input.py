"""What the image reader sees: the image, its field of view, tissues, f(z), posterior and atlas."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seg_prior.models.cells import CELL
from seg_prior.models.likelihood import (
    Intensities,
    IntensityClasses,
    LikelihoodTable,
    channel_weight,
    tabulated_class_log_likelihood,
)
from seg_prior.models.location import FLOOR, LocationPrior
from seg_prior.models.voxel_rows import Box

_LOWEST_LOG = -10.0
_IMAGE_RANGE = 4.0  # deviations


@dataclass(frozen=True, eq=False)
class ReaderSpace:
    """What all scans of a model share, on prior space's grid.

    Attributes:
        location: The anatomy mask and the atlas.
        kinds: (K,) the intensity class of each kind.
        class_of_group: (G,) the intensity class of each label; of background, its first kind's.
        tissues: (T,) one class for each tie of what is inside.
    """

    location: LocationPrior
    kinds: Tensor
    class_of_group: Tensor
    tissues: Tensor

    @classmethod
    def of(cls, location: LocationPrior, classes: IntensityClasses) -> ReaderSpace:
        """The space of a location prior."""
        seen: set[int] = set()
        tissues = []
        for index, tie in enumerate(classes.tie_of_class.tolist()):
            if not classes.is_outside[index] and tie not in seen:
                seen.add(tie)
                tissues.append(index)
        of_group = [int(classes.class_of_label[group[0]]) for group in location.groups]
        device = location.voxels.device
        return cls(
            location,
            classes.class_of_label[list(location.groups[0])],
            torch.tensor(of_group, device=device),
            torch.tensor(tissues, device=device),
        )

    @property
    def num_inputs(self) -> int:
        """Channels of `features`."""
        return 2 * CELL + 3 * len(self.class_of_group) + CELL * (len(self.tissues) + 1)

    @property
    def brain(self) -> Tensor:
        """(D, H, W) bool, where anatomy is likelier than background."""
        return self.location.scatter(self.location.background[None, None], 1.0)[0, 0] < 0.5

    def atlas_in(self, box: Box) -> tuple[Tensor, Tensor]:
        """(G, d, h, w) log p_loc of the labels of results in a box of prior space.

        And (K, d, h, w), log share of each kind of background in background.
        """
        log_prob, is_outside = self.location.rows.in_box(box)
        log_kind = log_prob[list(self.location.groups[0])].log_softmax(0)
        log_kind[:, is_outside] = -math.log(len(log_kind))
        return self.location.log_by_group(log_prob[None])[0], log_kind

    def background(self, by_class: Tensor, log_kind: Tensor) -> Tensor:
        """log p(x | background), its kinds together: (C, ...), (K, ...) -> (1, ...)."""
        return torch.logsumexp(log_kind + by_class[self.kinds], dim=0, keepdim=True)


@dataclass(frozen=True, eq=False)
class FineImage:
    """An image on a grid of half prior space's spacing, whose voxels are eighths of its own.

    Attributes:
        image: (H, 2 D, 2 H', 2 W) normalised intensity; the first contrast is what is looked at.
        observed: (H, 2 D, 2 H', 2 W), bool, or 0 and 1.
        ignored: (2 D, 2 H', 2 W) bool, missing data within it; None where there is none.
    """

    image: Tensor
    observed: Tensor
    ignored: Tensor | None = None

    @property
    def weight(self) -> Tensor:
        """(H, 2 D, 2 H', 2 W), `channel_weight` of what is observed."""
        return channel_weight(self.observed.float()[None])[0]

    @property
    def in_view(self) -> Tensor:
        """(2 D, 2 H', 2 W) bool."""
        return (self.observed > 0).any(0)

    def at(self, box: Box) -> FineImage:
        """The part in a box of prior space."""
        double = tuple(slice(2 * side.start, 2 * side.stop) for side in box)
        return FineImage(self.image[:, *double], self.observed[:, *double])


def on_grid(location: LocationPrior, log_prob: Tensor) -> Tensor:
    """(1, G, V) log probabilities of groups -> (1, G, D, H, W); outside background is certain."""
    grid = location.scatter(log_prob, math.log(FLOOR))
    is_outside = location.scatter(log_prob.new_zeros(1, 1, log_prob.shape[2]), 1.0)[0, 0] > 0
    grid[:, 0, is_outside] = 0.0
    return grid


def moments(space: ReaderSpace, seen: FineImage) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the first contrast where anatomy is expected and in view."""
    some = seen.image[0, ::2, ::2, ::2]
    values = some[space.brain & (seen.observed[0, ::2, ::2, ::2] > 0)]
    if values.numel() < 2:
        return some.mean(), some.std() + 1e-3
    return values.mean(), values.std() + 1e-3


def features(
    space: ReaderSpace,
    seen: FineImage,
    log_prior: Tensor,
    intensities: Intensities,
    scale: tuple[Tensor, Tensor],
    box: Box,
    table: LikelihoodTable | None = None,
) -> Tensor:
    """What the network sees in a box of prior space; a function of the voxels there alone.

    Args:
        space: Of the model.
        seen: The part of the image in the box.
        log_prior: (G, d, h, w) log f(z) in the box.
        intensities: The image's Gaussians.
        scale: `moments` of the whole image.
        box: Which part of prior space.
        table: The likelihood of the whole image, if it has one contrast.

    Returns:
        (1, `space.num_inputs`, d, h, w).
    """
    mean, sd = scale
    in_view = fold(seen.in_view[None])  # (8, d, h, w), and so is all that follows of parts
    values, weight = (
        fold(each).view(-1, CELL, *in_view.shape[1:]) for each in (seen.image, seen.weight)
    )
    image = torch.where(in_view, ((values[0] - mean) / sd).clamp(-_IMAGE_RANGE, _IMAGE_RANGE), 0.0)
    by_class = tabulated_class_log_likelihood(
        values.flatten(1)[None], weight.flatten(1)[None], intensities, table
    )[0].view(-1, *image.shape)
    log_atlas, log_kind = space.atlas_in(box)
    background = space.background(by_class, log_kind[:, None])
    tissue = torch.softmax(torch.cat([background, by_class[space.tissues]]), dim=0)
    by_group = by_class.mean(1)[space.class_of_group]
    by_group[0] = background[0].mean(0)
    posterior = torch.softmax(log_prior + by_group, dim=0)
    channels = [
        image,
        in_view.float(),
        log_prior.clamp(_LOWEST_LOG, 0) / 5 + 1,
        log_atlas.clamp(_LOWEST_LOG, 0) / 5 + 1,
        2 * posterior,
        tissue.flatten(0, 1),
    ]
    return torch.cat(channels)[None]


def fold(grid: Tensor) -> Tensor:
    """(C, 2 d, 2 h, 2 w) -> (8 C, d, h, w): the eight parts of a voxel side by side."""
    channels, depth, height, width = grid.shape
    parts = grid.view(channels, depth // 2, 2, height // 2, 2, width // 2, 2)
    return parts.permute(0, 2, 4, 6, 1, 3, 5).reshape(-1, depth // 2, height // 2, width // 2)
