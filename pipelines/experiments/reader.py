"""The network that corrects f(z) by what it sees, taught by synthetic scans, through p(x | s)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from experiments.readings import Reading, load_reading, unpacked
from experiments.schooling import Losses, Schooling, school
from seg_prior.core.device import autocast
from seg_prior.core.labels import LabelTable
from seg_prior.errors import ConfigError
from seg_prior.models.image_reader import ImageReader
from seg_prior.models.likelihood import Intensities, IntensityClasses, class_log_likelihood
from seg_prior.models.location import CELL, LocationPrior
from seg_prior.models.reader_input import Box, FineImage, ReaderSpace, features, on_grid
from seg_prior.synthesis.anatomies import generator_of
from seg_prior.synthesis.fields import happens

_TRUE_GAUSSIANS_SHARE = 0.3
"""Of patches judged by the Gaussians of the truth: what EM is to find, once f is right."""
_PRIOR_WEIGHT = 0.1
_DICE_SLACK = 1.0
_MIN_PRESENT = 30
"""Parts of a label that a patch must hold for its Dice to count."""
_CERTAIN = 0.98
"""Background surer than this, with all its neighbours, is nothing to learn from."""
_SIDE_MULTIPLE = 8
_MOST_DRAWS = 50


@dataclass(frozen=True)
class Sampling:
    """Which patches are learned from.

    Attributes:
        side: Of a patch, in voxels of prior space.
        num_voxels: Of a patch, at which the loss is taken.
        aged_kept: Of readings of aged anatomies, once `all_until` of the training is over; those
            of young ones are always kept.
        all_until: Share of the training.
        seed: Patch number n is a function of it, n and the share.
    """

    side: int = 48
    num_voxels: int = 10_000
    aged_kept: float = 0.36
    all_until: float = 0.5
    seed: int = 1


class Patch(NamedTuple):
    """A part of a reading, and where the loss is taken.

    Attributes:
        seen: (1, 2 d, 2 h, 2 w) image and field of view.
        labels: (2 d, 2 h, 2 w).
        log_prior: (G, d, h, w).
        fitted, judge: Gaussians that the network sees, and those of the likelihood in the loss.
        scale: Mean and deviation of the whole image.
        box: Of the patch in prior space.
        chosen: (N,) flat indices of voxels of the patch.
    """

    seen: FineImage
    labels: Tensor
    log_prior: Tensor
    fitted: Intensities
    judge: Intensities
    scale: tuple[Tensor, Tensor]
    box: Box
    chosen: Tensor


class Patches:
    """Random patches of readings; half of them mirrored, where labels have sides.

    Args:
        paths: Of readings.
        location: The anatomy mask.
        classes: The Gaussians.
        table: The labels of results.
        sampling: Which patches.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        location: LocationPrior,
        classes: IntensityClasses,
        table: LabelTable,
        sampling: Sampling,
    ) -> None:
        self.paths, self.location, self.classes, self.sampling = paths, location, classes, sampling
        self.space = ReaderSpace.of(location, classes)
        self.partner = torch.from_numpy(table.partner)
        self.has_sides = bool((self.partner != torch.arange(len(table))).any())
        self.sides = patch_sides(location.shape, sampling.side)
        uncertain = (self.space.log_atlas[0].exp() < _CERTAIN).float()[None, None]
        self.is_learned = F.max_pool3d(uncertain, 3, stride=1, padding=1)[0, 0] > 0
        self.places = self.is_learned.nonzero()

    def patch(self, number: int, share_done: float) -> Patch:
        """A patch around a voxel that is worth learning from."""
        generator = generator_of(self.sampling.seed, number)
        reading = self._reading(share_done, generator)
        place = self.places[_below(len(self.places), generator)].tolist()
        corner = [
            min(max(at - _below(side, generator), 0), whole - side)
            for at, side, whole in zip(place, self.sides, self.location.shape, strict=True)
        ]
        box = box_of(corner, self.sides)
        candidates = self.is_learned[box].flatten().nonzero().flatten()
        order = torch.randperm(len(candidates), generator=generator)
        chosen = candidates[order[: self.sampling.num_voxels]].sort().values
        double = tuple(slice(2 * part.start, 2 * part.stop) for part in box)
        image, in_view = reading.image[double].float(), reading.in_view[double].float()
        fitted = _gaussians(reading, 0, self.classes)
        true = _gaussians(reading, 1, self.classes)
        patch = Patch(
            FineImage(image[None], in_view[None]),
            reading.labels[double].clone(),
            on_grid(self.location, unpacked(reading.log_prior)[None])[0][:, *box],
            fitted,
            true if happens(_TRUE_GAUSSIANS_SHARE, generator) else fitted,
            (reading.scale[0], reading.scale[1]),
            box,
            chosen,
        )
        return self._mirrored(patch) if self.has_sides and _below(2, generator) else patch

    def _reading(self, share_done: float, generator: torch.Generator) -> Reading:
        """A random one; in the later part of a training, of the aged only a share is kept."""
        is_choosy = share_done >= self.sampling.all_until
        for _ in range(_MOST_DRAWS):
            reading = load_reading(self.paths[_below(len(self.paths), generator)])
            is_kept = happens(self.sampling.aged_kept, generator)
            if not is_choosy or is_kept or not bool(reading.is_aged):
                break
        return reading

    def _mirrored(self, patch: Patch) -> Patch:
        """The other way round along x, the first axis, which prior space is symmetrical about."""
        depth, height, width = self.sides
        corner = [part.start for part in patch.box]
        corner[0] = self.location.shape[0] - depth - corner[0]
        rest = height * width
        chosen = (depth - 1 - patch.chosen // rest) * rest + patch.chosen % rest
        return patch._replace(
            seen=FineImage(patch.seen.image.flip(1), patch.seen.weight.flip(1)),
            labels=self.partner.to(torch.uint8)[patch.labels.flip(0).long()],
            log_prior=patch.log_prior.flip(1)[self.partner],
            box=box_of(corner, self.sides),
            chosen=chosen.sort().values,
        )


def train_reader(
    reader: ImageReader, patches: Patches, plan: Schooling, folder: Path, request: str
) -> int:
    """Teach a reader in place; steps done. As `school`."""

    def losses_of(step: int, share_done: float) -> Losses:
        return patch_losses(reader, patches.space, patches.patch(step, share_done))

    return school(reader, losses_of, plan, folder, request)


def patch_losses(reader: ImageReader, space: ReaderSpace, patch: Patch) -> Losses:
    """Cross entropy and soft Dice of the posterior under f', and a tenth of f's cross entropy.

    The loss passes through the likelihood, so the network learns what intensities leave open.
    `..._before` is what f(z) alone would have.
    """
    channels = features(space, patch.seen, patch.log_prior, patch.fitted, patch.scale, patch.box)
    with autocast("cpu"):
        residual = reader.residual_at(reader(reader.stem(channels)), patch.chosen)
    parts = parts_at(patch.chosen, patch.log_prior.shape[1:])
    log_likelihood = likelihood_at(space, patch, parts)
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


def likelihood_at(space: ReaderSpace, patch: Patch, parts: Tensor) -> Tensor:
    """(N, G, 8) log p(x | label) at the parts of the chosen voxels."""
    flat = parts.flatten()
    image, weight = (t.flatten(1)[:, flat][None] for t in (patch.seen.image, patch.seen.weight))
    by_class = class_log_likelihood(image, weight, patch.judge)[0].view(-1, *parts.shape)
    log_kind = space.log_kind[:, *patch.box].flatten(1)[:, patch.chosen, None]
    by_group = by_class[space.class_of_group]
    by_group = torch.cat([space.background(by_class, log_kind), by_group[1:]])
    return by_group.transpose(0, 1)


def interpolated(log_prior: Tensor, voxels: Tensor) -> Tensor:
    """(G, d, h, w) at the eight parts of N voxels, between the voxels' middles: (N, G, 8)."""
    shape = log_prior.shape[1:]
    corner = _position(voxels, shape)[:, None].float()
    place = corner + 0.5 * (_offsets().float() - 0.5)
    unit = ((2 * place + 1) / torch.tensor(shape) - 1).flip(-1)[None, None]
    found = F.grid_sample(log_prior[None], unit, padding_mode="border", align_corners=False)
    return found.view(log_prior.shape[0], -1, CELL).transpose(0, 1)


def parts_at(voxels: Tensor, shape: Sequence[int]) -> Tensor:
    """(N, 8) flat indices of the parts of voxels on the grid of half the spacing."""
    i, j, k = (2 * _position(voxels, shape)[:, None] + _offsets()).unbind(-1)
    return (i * 2 * shape[1] + j) * 2 * shape[2] + k


def take_off(reader: ImageReader, table: LabelTable, ids: Sequence[int], nats: float) -> None:
    """Lower what a reader adds to some labels everywhere, by so many nats.

    Raises:
        ConfigError: None of the ids is one of the table's.
    """
    known = table.ids.tolist()
    rows = [known.index(i) for i in ids if i in known]
    if nats and not rows:
        raise ConfigError(
            f"fluid-bias: found labels without any of the ids {list(ids)}, need one of them. "
            "Take 0."
        )
    with torch.no_grad():
        reader.head.bias.view(len(known), CELL)[rows] -= nats


def patch_sides(shape: tuple[int, int, int], wanted: int) -> tuple[int, int, int]:
    """Of a patch: multiples of 8, at most what is wanted and what there is."""
    d, h, w = (min(wanted, side) // _SIDE_MULTIPLE * _SIDE_MULTIPLE for side in shape)
    return (d, h, w)


def box_of(corner: Sequence[int], sides: Sequence[int]) -> Box:
    """From a corner, so many voxels along each axis."""
    i, j, k = (slice(at, at + side) for at, side in zip(corner, sides, strict=True))
    return (i, j, k)


def _gaussians(reading: Reading, which: int, classes: IntensityClasses) -> Intensities:
    """Of f(z), 0, or of the truth, 1."""
    part = slice(which, which + 1)
    classes = replace(classes, is_stripped=bool(reading.is_stripped))
    return Intensities(reading.mean[part], reading.var[part], reading.log_weight[part], classes)


def _below(bound: int, generator: torch.Generator) -> int:
    return int(torch.randint(bound, (1,), generator=generator))


def _position(voxels: Tensor, shape: Sequence[int]) -> Tensor:
    """(N, 3) of flat indices."""
    rest = shape[1] * shape[2]
    return torch.stack([voxels // rest, voxels // shape[2] % shape[1], voxels % shape[2]], dim=1)


def _offsets() -> Tensor:
    """(8, 3) of the parts of a voxel, in the order of `reader_input.fold`."""
    step = torch.arange(2)
    return torch.cartesian_prod(step, step, step)
