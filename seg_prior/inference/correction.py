"""f(z) corrected by a network that looks at the image, half a voxel of prior space at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seg_prior.config.networks import OffsetConfig
from seg_prior.core.device import autocast
from seg_prior.core.labels import LabelTable
from seg_prior.models.image_reader import ImageReader
from seg_prior.models.likelihood import Intensities
from seg_prior.models.location import CELL, LocationPrior, rows_of_log_prior, voxel_of
from seg_prior.models.reader_input import FineImage, ReaderSpace, features, moments
from seg_prior.models.voxel_rows import VoxelRows

_PLANES = 8
"""Of prior space whose input is made at once: all of it would be half a gigabyte."""
_VOXELS = 20_000


@dataclass(frozen=True, eq=False)
class Correction:
    """What a network adds to log f(z); not normalised, which a posterior does not ask for.

    Attributes:
        mean: (G, V) h of each voxel of the anatomy mask as a whole.
        log_fine: log f(z) + h of L labels, on the grid of half prior space's spacing.
    """

    mean: Tensor
    log_fine: VoxelRows

    def corrected(self, log_prior: Tensor, location: LocationPrior) -> Tensor:
        """log f': (B, L, V) log f(z) -> the same, normalised."""
        corrected = torch.empty_like(log_prior, memory_format=torch.contiguous_format)
        for start in range(0, log_prior.shape[2], _VOXELS):  # a copy of all is 50 MB of a brain
            some = slice(start, start + _VOXELS)
            more = location.of_labels(self.mean[None, :, some])
            corrected[..., some] = torch.log_softmax(log_prior[..., some] + more, dim=1)
        return corrected


def parts_of(location: LocationPrior) -> Tensor:
    """(8 V,) flat index, on the grid of half the spacing, of the parts of the mask's voxels."""
    _, height, width = location.shape
    d, h, w = voxel_of(location.voxels, location.shape).unbind(1)
    step = torch.arange(2, device=location.voxels.device)
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
    offset: Tensor,
) -> Correction:
    """Look at an image and say what f(z) gets wrong.

    Args:
        reader: The network.
        location: The anatomy mask and the atlas.
        seen: The image, on the grid of half prior space's spacing.
        log_prior: (1, L, V) log f(z).
        intensities: The Gaussians fitted under it.
        offset: (G,) nats, added to h everywhere, `offset_of`.
    """
    prior = rows_of_log_prior(log_prior[0].half(), location)
    features_of_voxels = _look(reader, location, seen, prior, intensities)
    depth, height, width = location.shape
    fine_shape = (2 * depth, 2 * height, 2 * width)
    parts = parts_of(location)
    rows = prior.rows.new_empty(len(parts) + 1, location.num_labels)
    rows[-1] = prior.rows[-1]
    mean = log_prior.new_empty(reader.num_groups, len(location.voxels))
    for start in range(0, len(location.voxels), _VOXELS):
        stop = min(start + _VOXELS, len(location.voxels))
        some, some_parts = slice(start, stop), slice(CELL * start, CELL * stop)
        with torch.no_grad(), autocast(str(log_prior.device)):
            h = reader.residual_at(features_of_voxels, location.voxels[some]) + offset[:, None]
        if seen.ignored is not None:
            # It has learned that out of view is mostly outside, so of missing data it says nothing.
            h = h.masked_fill(seen.ignored.flatten()[parts[some_parts]].view(-1, 1, CELL), 0.0)
        mean[:, some] = h.mean(2).T
        place = voxel_of(parts[some_parts], fine_shape) / 2 - 0.25
        h_of_labels = h[:, location.group_of_label].transpose(1, 2).flatten(0, 1)
        rows[some_parts] = prior.at(place) + h_of_labels
    return Correction(mean, VoxelRows.of(rows, parts, fine_shape))


def offset_of(
    config: OffsetConfig | None, table: LabelTable, location: LocationPrior, log_prior: Tensor
) -> Tensor:
    """(G,) nats that are added to h, by how old f(z) is.

    A network that has learned from mostly aged anatomies expects their share of fluid, so it sees
    too much of it in the young and the right amount in the old. All of the offset is due up to one
    share of the gauge, nothing from another one, and between them it falls in proportion.

    Args:
        config: Of the checkpoint.
        table: The labels of results, G of them.
        location: The anatomy mask.
        log_prior: (1, L, V) log f(z).
    """
    offset = log_prior.new_zeros(len(table))
    if config is None:
        return offset
    index = {label.id: n for n, label in enumerate(table.labels)}
    for i, nats in config.nats.items():
        offset[index[i]] = nats
    if config.gauge_ids:
        mass = location.log_by_group(log_prior)[0].exp().sum(1)
        share = mass[[index[i] for i in config.gauge_ids]].sum() / mass[1:].sum()
        full, none = config.fades
        offset *= ((none - share) / (none - full)).clamp(0, 1)
    return offset


def _look(
    reader: ImageReader,
    location: LocationPrior,
    seen: FineImage,
    prior: VoxelRows,
    intensities: Intensities,
) -> Tensor:
    """(1, W, D, H, W') what the network makes of an image.

    Arguments are those of `correct`, log f(z) by rows.
    """
    space = ReaderSpace.of(location, intensities.classes)
    scale = moments(space, seen)
    depth, height, width = location.shape
    stems = []
    with torch.no_grad(), autocast(str(prior.rows.device)):
        for start in range(0, depth, _PLANES):
            box = (slice(start, min(start + _PLANES, depth)), slice(0, height), slice(0, width))
            log_prior = location.log_by_group(prior.in_box(box)[0][None])[0]
            channels = features(space, seen.at(box), log_prior, intensities, scale, box)
            stems.append(reader.stem(channels))
        found: Tensor = reader.trunk(torch.cat(stems, dim=2))
    return found
