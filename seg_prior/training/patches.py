"""Random patches of readings: what an image reader sees, and what is true there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from seg_prior.config.training import PatchConfig
from seg_prior.core.labels import LabelTable
from seg_prior.models.likelihood import Intensities, IntensityClasses
from seg_prior.models.location import LocationPrior
from seg_prior.models.reader_input import on_grid
from seg_prior.models.voxel_rows import Box
from seg_prior.synthesis.anatomies import generator_of
from seg_prior.synthesis.fields import happens
from seg_prior.training.readings import Reading, load_reading, unpacked

_TRUE_GAUSSIANS_SHARE = 0.3
"""Of patches judged by the Gaussians of the truth: what EM is to find, once f is right."""
_CERTAIN = 0.98
"""Background surer than this, with all its neighbours, is nothing to learn from."""
_SIDE_MULTIPLE = 8
_MOST_DRAWS = 50


class Patch(NamedTuple):
    """A part of a reading, and where the loss is taken; of one, or with a first axis of a batch.

    Attributes:
        image: (1, 2 d, 2 h, 2 w) normalised intensity.
        in_view: (1, 2 d, 2 h, 2 w) 0 or 1.
        labels: (2 d, 2 h, 2 w) uint8.
        log_prior: (G, d, h, w) log f(z).
        fitted, judge: (mean, var, log_weight) of the Gaussians that the network sees, and of those
            of the likelihood in the loss; shapes (1, M), (1, M), (C, M).
        is_stripped: Bool, whether background was cut away.
        scale: (2,) mean and deviation of the whole image.
        corner: (3,) of the patch in prior space.
        chosen: (N,) flat indices of voxels of the patch.
    """

    image: Tensor
    in_view: Tensor
    labels: Tensor
    log_prior: Tensor
    fitted: tuple[Tensor, Tensor, Tensor]
    judge: tuple[Tensor, Tensor, Tensor]
    is_stripped: Tensor
    scale: Tensor
    corner: Tensor
    chosen: Tensor

    @property
    def box(self) -> Box:
        """Of one patch, in prior space."""
        return box_of(self.corner.tolist(), self.log_prior.shape[1:])

    def one(self, n: int) -> Patch:
        """Number n of a batch."""
        values: Any = [v[n] if isinstance(v, Tensor) else tuple(t[n] for t in v) for v in self]
        return Patch(*values)


class Patches(Dataset[Patch]):
    """Patches in random order, half of them mirrored where labels have sides.

    Item n is a function of the seed, n and the share of the training that is over by then.

    Args:
        paths: Of readings.
        location: The anatomy mask.
        classes: The Gaussians.
        table: The labels of results.
        config: Which patches.
        seed: Of all that is random.
        length: Of the training, in patches.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        location: LocationPrior,
        classes: IntensityClasses,
        table: LabelTable,
        config: PatchConfig,
        seed: int,
        length: int,
    ) -> None:
        self.paths, self.location, self.config = paths, location, config
        self.seed, self.length = seed, length
        self.partner = torch.from_numpy(table.partner)
        self.has_sides = bool((self.partner != torch.arange(len(table))).any())
        self.sides = patch_sides(location.shape, config.side)
        background = location.scatter(location.background[None, None], 1.0)
        uncertain = (background < _CERTAIN).float()
        self.is_learned = F.max_pool3d(uncertain, 3, stride=1, padding=1)[0, 0] > 0
        self.places = self.is_learned.nonzero()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> Patch:
        """A patch around a voxel that is worth learning from."""
        generator = generator_of(self.seed, item)
        reading = self._reading(item / self.length, generator)
        place = self.places[_below(len(self.places), generator)].tolist()
        corner = [
            min(max(at - _below(side, generator), 0), whole - side)
            for at, side, whole in zip(place, self.sides, self.location.shape, strict=True)
        ]
        box = box_of(corner, self.sides)
        candidates = self.is_learned[box].flatten().nonzero().flatten()
        order = torch.randperm(len(candidates), generator=generator)
        # As many in every patch, so that patches are batches; of a small anatomy some come twice.
        turn = torch.arange(self.config.num_voxels) % len(order)
        double = tuple(slice(2 * part.start, 2 * part.stop) for part in box)
        fitted, true = (_gaussians(reading, which) for which in (0, 1))
        patch = Patch(
            reading.image[double].float()[None],
            reading.in_view[double].float()[None],
            reading.labels[double].clone(),
            on_grid(self.location, unpacked(reading.log_prior)[None])[0][:, *box],
            fitted,
            true if happens(_TRUE_GAUSSIANS_SHARE, generator) else fitted,
            reading.is_stripped,
            reading.scale,
            torch.tensor(corner),
            candidates[order[turn]].sort().values,
        )
        return self._mirrored(patch) if self.has_sides and _below(2, generator) else patch

    def _reading(self, share_done: float, generator: torch.Generator) -> Reading:
        """A random one; in the later part of a training, of the aged only a share is kept."""
        is_choosy = share_done >= self.config.all_until
        for _ in range(_MOST_DRAWS):
            reading = load_reading(self.paths[_below(len(self.paths), generator)])
            is_kept = happens(self.config.aged_kept, generator)
            if not is_choosy or is_kept or not bool(reading.is_aged):
                break
        return reading

    def _mirrored(self, patch: Patch) -> Patch:
        """The other way round along x, the first axis, which prior space is symmetrical about."""
        depth, height, width = self.sides
        corner = patch.corner.clone()
        corner[0] = self.location.shape[0] - depth - corner[0]
        rest = height * width
        chosen = (depth - 1 - patch.chosen // rest) * rest + patch.chosen % rest
        return patch._replace(
            image=patch.image.flip(1),
            in_view=patch.in_view.flip(1),
            labels=self.partner.to(torch.uint8)[patch.labels.flip(0).long()],
            log_prior=patch.log_prior.flip(1)[self.partner],
            corner=corner,
            chosen=chosen.sort().values,
        )


def intensities_of(
    gaussians: tuple[Tensor, Tensor, Tensor], classes: IntensityClasses
) -> Intensities:
    """Of one patch, with the first axis that a batch of one scan has."""
    mean, var, log_weight = gaussians
    return Intensities(mean[None], var[None], log_weight[None], classes)


def patch_sides(shape: tuple[int, int, int], wanted: int) -> tuple[int, int, int]:
    """Of a patch: multiples of 8, at most what is wanted and what there is."""
    d, h, w = (min(wanted, side) // _SIDE_MULTIPLE * _SIDE_MULTIPLE for side in shape)
    return (d, h, w)


def box_of(corner: Sequence[int], sides: Sequence[int]) -> Box:
    """From a corner, so many voxels along each axis."""
    i, j, k = (slice(at, at + side) for at, side in zip(corner, sides, strict=True))
    return (i, j, k)


def _gaussians(reading: Reading, which: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of f(z), 0, or of the truth, 1."""
    return reading.mean[which], reading.var[which], reading.log_weight[which]


def _below(bound: int, generator: torch.Generator) -> int:
    return int(torch.randint(bound, (1,), generator=generator))
