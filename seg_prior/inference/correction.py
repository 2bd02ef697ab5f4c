"""f(z) corrected by a network that looks at the image, half a voxel of prior space at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seg_prior.config.networks import OffsetConfig
from seg_prior.core.device import autocast
from seg_prior.core.labels import LabelTable
from seg_prior.models.blocks import at_cells
from seg_prior.models.cells import CELL, of_cells, voxel_of
from seg_prior.models.image_reader import ImageReader
from seg_prior.models.likelihood import Intensities, LikelihoodTable
from seg_prior.models.location import LocationPrior
from seg_prior.models.reader_input import FineImage, ReaderSpace, features, moments
from seg_prior.models.runs import runs
from seg_prior.models.voxel_rows import VoxelRows

_PLANES = 4
"""Of prior space whose input is made at once: all of it would be half a gigabyte."""
_VOXELS = 4096


@dataclass(frozen=True, eq=False)
class Correction:
    """What a network has to say on log f(z), voxel by voxel of the anatomy mask.

    Attributes:
        mean: (G, V) h of each voxel as a whole, half precision.
        features: (V, C) what the network makes of the image around it.
        ignored: (V, 8) bool, its parts of which nothing is said; None where there are none.
        log_prior: log f(z), half precision.
        offset: (G,) nats, added to h everywhere but there.
    """

    mean: Tensor
    features: Tensor
    ignored: Tensor | None
    log_prior: VoxelRows
    offset: Tensor

    def corrected(
        self, log_prior: Tensor, location: LocationPrior, cells: Tensor | None = None
    ) -> Tensor:
        """log f', normalised, in the place of (B, L, V) log f(z), or of that of chosen cells."""
        mean = of_cells(self.mean, cells)
        for start in range(0, log_prior.shape[2], _VOXELS):
            some = log_prior[..., start : start + _VOXELS]
            more = location.of_labels(mean[None, :, start : start + _VOXELS].float())
            some.copy_(torch.log_softmax(some.float() + more, dim=1))
        return log_prior


@dataclass(frozen=True, eq=False)
class FinePrior:
    """log f(z) + h on the grid of half prior space's spacing, made where it is read.

    It is not normalised, which a posterior does not ask for. All of it would take 0.2 GB of a
    brain.
    """

    reader: ImageReader
    location: LocationPrior
    correction: Correction

    @property
    def shape(self) -> tuple[int, int, int]:
        """(2 D, 2 H, 2 W)."""
        depth, height, width = self.location.shape
        return 2 * depth, 2 * height, 2 * width

    def in_planes(self, planes: range) -> VoxelRows:
        """What can be read in some planes of this grid."""
        location, correction = self.location, self.correction
        # Voxels of the mask lie in memory cell by cell, which are two planes of prior space each.
        plane = planes.start // 4, -(-planes.stop // 4)
        half_plane = location.shape[1] // 2 * (location.shape[2] // 2)
        ends = torch.tensor([plane[0] * half_plane, plane[1] * half_plane])
        first, stop = (CELL * torch.searchsorted(location.cells.cpu(), ends)).tolist()
        own = slice(first, stop)
        parts = parts_of(location, own)
        prior = correction.log_prior
        rows = prior.rows.new_empty(len(parts) + 1, location.num_labels)
        rows[-1] = prior.rows[-1]
        residual = self.reader.residual_of_labels(location.group_of_label)
        offset = correction.offset[location.group_of_label]
        sides = torch.tensor([-0.25, 0.25], device=rows.device)
        quarters = torch.cartesian_prod(sides, sides, sides)  # as `parts_of` has them
        for start in range(first, stop, _VOXELS):
            some = slice(start, min(start + _VOXELS, stop))
            here = slice(CELL * (some.start - first), CELL * (some.stop - first))
            with torch.no_grad(), autocast(str(rows.device)):
                h = residual(correction.features[some]) + offset
            if correction.ignored is not None:
                h = h.masked_fill(correction.ignored[some, :, None], 0.0)
            place = voxel_of(location.voxels[some], location.shape)[:, None] + quarters
            rows[here] = prior.at(place.flatten(0, 1)) + h.flatten(0, 1)
        return VoxelRows.of(rows, parts, self.shape, range(4 * plane[0], 4 * plane[1]))


def parts_of(location: LocationPrior, some: slice = slice(None)) -> Tensor:
    """(8 V,) flat index, on the grid of half the spacing, of the parts of some of the voxels."""
    _, height, width = location.shape
    d, h, w = voxel_of(location.voxels[some], location.shape).unbind(1)
    step = torch.arange(2, device=location.voxels.device)
    dd = 2 * d[:, None, None, None] + step[:, None, None]
    hh = 2 * h[:, None, None, None] + step[:, None]
    ww = 2 * w[:, None, None, None] + step
    return ((dd * 2 * height + hh) * 2 * width + ww).flatten()


def correct(
    reader: ImageReader,
    location: LocationPrior,
    seen: FineImage,
    prior: VoxelRows,
    intensities: Intensities,
    offset: Tensor,
) -> Correction:
    """Look at an image and say what f(z) gets wrong.

    Args:
        reader: The network.
        location: The anatomy mask and the atlas.
        seen: The image, on the grid of half prior space's spacing.
        prior: log f(z), half precision.
        intensities: The Gaussians fitted under it.
        offset: (G,) nats, added to h everywhere, `offset_of`.
    """
    device = str(prior.rows.device)
    with torch.no_grad(), autocast(device):
        features_of_all = reader.trunk(_stem(reader, location, seen, prior, intensities))
    rows = at_cells(features_of_all, location.voxels)[0]
    del features_of_all
    ignored = None
    if seen.ignored is not None:
        # It has learned that out of view is mostly outside, so of missing data it says nothing.
        ignored = seen.ignored.flatten()[parts_of(location)].view(-1, CELL)
    mean = prior.rows.new_empty(reader.num_groups, len(rows))
    for start in range(0, len(rows), _VOXELS):
        some = slice(start, start + _VOXELS)
        with torch.no_grad(), autocast(device):
            mean[:, some] = (reader.mean_residual(rows[some]) + offset).T
    if ignored is not None:
        mean *= 1 - ignored.to(mean.dtype).mean(1)
    return Correction(mean, rows, ignored, prior, offset)


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
        parts = (location.log_by_group(log_prior[..., some]) for some in runs(log_prior.shape[2]))
        mass = torch.stack([part[0].exp().sum(1) for part in parts]).sum(0)
        share = mass[[index[i] for i in config.gauge_ids]].sum() / mass[1:].sum()
        full, none = config.fades
        offset *= ((none - share) / (none - full)).clamp(0, 1)
    return offset


def _stem(
    reader: ImageReader,
    location: LocationPrior,
    seen: FineImage,
    prior: VoxelRows,
    intensities: Intensities,
) -> Tensor:
    """(1, C, D, H, W) what the network's stem makes of an image.

    Arguments are those of `correct`.
    """
    space = ReaderSpace.of(location, intensities.classes)
    scale, table = moments(space, seen), None
    if len(seen.image) == 1:
        table = LikelihoodTable.of(seen.image, intensities)
    depth, height, width = location.shape
    stem = None
    with torch.no_grad(), autocast(str(prior.rows.device)):
        for start in range(0, depth, _PLANES):
            box = (slice(start, min(start + _PLANES, depth)), slice(0, height), slice(0, width))
            log_prior = location.log_by_group(prior.in_box(box)[0][None])[0]
            part = reader.stem(
                features(space, seen.at(box), log_prior, intensities, scale, box, table)
            )
            if stem is None:
                size = (1, part.shape[1], *location.shape)
                stem = torch.empty(
                    size,
                    dtype=part.dtype,
                    device=part.device,
                    memory_format=torch.channels_last_3d,
                )
            stem[:, :, box[0]] = part
    assert stem is not None
    return stem
