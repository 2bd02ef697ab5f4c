"""The location prior: how often each label lies at each voxel of prior space, and where to look."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_prior.models.cells import CELL, flat_index, of_cells, voxel_of
from seg_prior.models.runs import in_runs
from seg_prior.models.voxel_rows import VoxelRows

FLOOR = 1e-4
_FLAT = 1e-5
"""Slope of a probability, a voxel, that is none: a tenth of the floor is what storing rounds."""
Groups = tuple[tuple[int, ...], ...]


class LocationPrior(nn.Module):
    """log p_loc on the voxels where there is anatomy, and the way to and from the full grid.

    All models work on the V voxels of the anatomy mask only; outside it every voxel is background
    with certainty. V is 8 x the number of cells, and voxel v belongs to cell v // 8, so networks
    that end on the half-size grid predict whole cells.

    Args:
        log_prob: (L, V) log label frequency, each column normalised.
        cells: (V / 8,) flat indices into the half-size grid.
        shape: Full grid (D, H, W), all even.
        groups: G lists of labels: background with its kinds, then every other label alone. Those
            of a group count as one for z and in results. None: background has no kinds.
    """

    log_prob: Tensor
    background: Tensor
    cells: Tensor
    voxels: Tensor
    group_of_label: Tensor
    log_rows: Tensor
    row_of_voxel: Tensor
    slope: Tensor
    slope_at: Tensor
    expected_at: Tensor

    def __init__(
        self,
        log_prob: Tensor,
        cells: Tensor,
        shape: tuple[int, int, int],
        groups: Groups | None = None,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.groups = groups or tuple((label,) for label in range(log_prob.shape[0]))
        group_of_label = torch.empty(log_prob.shape[0], dtype=torch.long)
        for n, group in enumerate(self.groups):
            group_of_label[list(group)] = n
        self.register_buffer("group_of_label", group_of_label, persistent=False)
        self.register_buffer("cells", cells)
        self.register_buffer("voxels", flat_index(cells, shape), persistent=False)
        rows = VoxelRows.of(
            torch.cat([log_prob.T, certain_background(log_prob)]), self.voxels, shape
        )
        self.register_buffer("log_rows", rows.rows, persistent=False)
        self.register_buffer("row_of_voxel", rows.row_of_voxel, persistent=False)
        self.register_buffer("log_prob", self.log_rows[:-1].T)  # one memory
        of_group = self.by_group(log_prob.exp()[None])[0]
        self.register_buffer("background", of_group[0].clone(), persistent=False)
        slope, slope_at = self._slope(of_group)
        self.register_buffer("slope", slope, persistent=False)
        self.register_buffer("slope_at", slope_at, persistent=False)
        self.register_buffer("expected_at", of_group.flatten()[slope_at], persistent=False)

    def _slope(self, prob_of_group: Tensor) -> tuple[Tensor, Tensor]:
        """How steep the probability of each label is along D, H, W, where it is not flat.

        Returns:
            (3, N) half precision; and (N,) int32 where, indices into (G, V) as one row of numbers.
            At most voxels most labels are at the floor: N is a tenth of G V for a brain.
        """
        row_of_voxel = self.row_of_voxel.view(self.shape)
        num_voxels, place = self.voxels.numel(), voxel_of(self.voxels, self.shape)
        slopes, places = [], []
        for group, prob in enumerate(prob_of_group):
            outside = 1.0 if group == 0 else FLOOR
            grid = self.scatter(prob[None, None], outside)[0, 0]
            box = _box_around(place[(prob - outside).abs() > _FLAT], self.shape)
            along = torch.stack(torch.gradient(grid[box]))
            row = row_of_voxel[box]
            is_steep = (along.abs().amax(0) > _FLAT) & (row < num_voxels)
            slopes.append(along[:, is_steep].half())
            places.append(row[is_steep] + group * num_voxels)
        return torch.cat(slopes, dim=1), torch.cat(places)

    @property
    def rows(self) -> VoxelRows:
        """log p_loc voxel by voxel; outside the mask background is certain."""
        return VoxelRows(self.log_rows, self.row_of_voxel, self.shape)

    @property
    def prob(self) -> Tensor:
        """(L, V) p_loc."""
        return self.log_prob.exp()

    @property
    def prob_of_group(self) -> Tensor:
        """(G, V) p_loc of the labels of results; made anew, since all of it is seldom asked for."""
        return self.prob_of_groups(slice(None))

    def prob_of_groups(self, some: slice) -> Tensor:
        """(G, n), of some voxels of the mask."""
        return self.by_group(self.log_prob[:, some].contiguous().exp()[None])[0]

    @cached_property
    def likeliest_group(self) -> Tensor:
        """(D, H, W), of p_loc; background outside the anatomy mask."""
        return self.scatter(self.prob_of_group.argmax(0)[None, None], 0)[0, 0]

    @property
    def num_labels(self) -> int:
        """L, background included."""
        return int(self.log_prob.shape[0])

    def of_labels(self, values: Tensor) -> Tensor:
        """(B, G, V) of groups -> (B, L, V): each label has its group's."""
        return values.index_select(1, self.group_of_label)

    def by_group(self, prob: Tensor) -> Tensor:
        """(B, L, V) probabilities of labels -> (B, G, V) of groups."""
        outside, inside = self._sides_of_labels
        background = prob[:, outside].sum(1, keepdim=True)
        return torch.cat([background, prob[:, inside]], dim=1)

    def log_by_group(self, log_prob: Tensor) -> Tensor:
        """As `by_group`, of logarithms, which need not be normalised."""
        outside, inside = self._sides_of_labels
        background = log_prob[:, outside].logsumexp(1, keepdim=True)
        return torch.cat([background, log_prob[:, inside]], dim=1)

    @cached_property
    def _sides_of_labels(self) -> tuple[list[int], list[int] | slice]:
        """Labels of background, and the others: a slice where they can be, which is a view."""
        outside, *groups = self.groups
        inside = [label for (label,) in groups]
        if inside and inside == list(range(inside[0], inside[-1] + 1)):
            return list(outside), slice(inside[0], inside[-1] + 1)
        return list(outside), inside

    def likeliest(self, log_prob: Tensor) -> Tensor:
        """(B, L, V) -> (B, V): of the likeliest group, its likeliest label."""
        first = torch.tensor([group[0] for group in self.groups], device=log_prob.device)
        outside = torch.tensor(self.groups[0], device=log_prob.device)
        best = self.log_by_group(log_prob).argmax(1)
        kind = outside[log_prob[:, self._sides_of_labels[0]].argmax(1)]
        return torch.where(best == 0, kind, first[best])

    def map_of(self, log_by_group: Tensor) -> Tensor:
        """(1, G, V) -> (D, H, W) uint8: the likeliest group, 0 outside the anatomy mask."""
        best = log_by_group.argmax(1, keepdim=True).to(torch.uint8)
        return self.scatter(best, 0)[0, 0]

    def gather(self, grid: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, C, V): the values inside the anatomy mask."""
        return grid.flatten(2).index_select(2, self.voxels)

    def force(self, soft_labels: Tensor) -> Tensor:
        """Which way each voxel would have to look to find its labels.

        sum_g (s_g - p_g) grad p_g over groups: the direction in which a displacement of the
        location prior raises the probability of the labels; zero where it already expects them.

        Args:
            soft_labels: (B, L, V).

        Returns:
            (B, 3, V), per voxel of prior space along D, H, W.
        """
        num_voxels = self.voxels.numel()
        voxel = self.slope_at % num_voxels
        num_outside = int((self.slope_at < num_voxels).count_nonzero())  # they come first
        kinds = self.groups[0][1:]
        label = voxel.new_tensor([group[0] for group in self.groups])[self.slope_at // num_voxels]
        places = label.long() * num_voxels + voxel
        seen = torch.stack([each.index_select(0, places) for each in soft_labels.flatten(1)])
        for kind in kinds:
            seen[:, :num_outside] += soft_labels[:, kind].index_select(1, voxel[:num_outside])
        residual = seen - self.expected_at
        force = soft_labels.new_zeros(len(soft_labels), 3, self.voxels.numel())
        for b, axis in itertools.product(range(len(soft_labels)), range(3)):
            # A row at a time: of more, sums over indices are slow on CPUs.
            force[b, axis].index_add_(0, voxel, residual[b] * self.slope[axis])
        return force

    def sample_moved(self, displacement: Tensor, cells: Tensor | None = None) -> Tensor:
        """(B, L, V) of `moved_by`, or (B, L, 8 N) of the chosen cells."""
        num_voxels = self.voxels.numel() if cells is None else CELL * len(cells)
        return in_runs(self.moved_by(displacement, cells), num_voxels)

    def moved_by(
        self, displacement: Tensor, cells: Tensor | None = None
    ) -> Callable[[slice], Tensor]:
        """log p_loc at displaced voxels, interpolated in log space.

        Args:
            displacement: (B, 3, d, h, w) in voxels of the full grid, on a coarser grid whose
                cells tile the full one; interpolated linearly.
            cells: (N,) which cells of the mask; all if None.

        Returns:
            n of the voxels -> (B, L, n), not normalised.
        """
        batch = displacement.shape[0]
        full = F.interpolate(displacement, size=self.shape, mode="trilinear", align_corners=False)
        voxels = of_cells(self.voxels, cells)
        index = voxel_of(voxels, self.shape).T
        place = index + full.flatten(2).index_select(2, voxels)  # (B, 3, N)

        def moved(some: slice) -> Tensor:
            found = self.rows.at(place[..., some].transpose(1, 2).flatten(0, 1))
            return found.view(batch, -1, self.num_labels).transpose(1, 2)

        return moved

    def on_cpu(self) -> LocationPrior:
        """The same, on the CPU."""
        return LocationPrior(self.log_prob.cpu(), self.cells.cpu(), self.shape, self.groups)

    def of_groups(self) -> LocationPrior:
        """The groups as labels of their own, on the CPU."""
        log_prob = self.log_by_group(self.log_prob[None])[0].cpu()
        return LocationPrior(log_prob, self.cells.cpu(), self.shape)

    def scatter(self, values: Tensor, outside: float) -> Tensor:
        """(B, C, V) -> (B, C, D, H, W), with one value outside the anatomy mask."""
        batch, channels, _ = values.shape
        grid = values.new_full((batch, channels, math.prod(self.shape)), outside)
        grid[:, :, self.voxels] = values
        return grid.view(batch, channels, *self.shape)


def rows_of_log_prior(log_prior: Tensor, location: LocationPrior) -> VoxelRows:
    """Rows of (L, V) log f; outside the anatomy mask background is certain."""
    rows = torch.cat([log_prior.T, certain_background(log_prior)])
    return VoxelRows(rows, location.row_of_voxel, location.shape)


def certain_background(log_prior: Tensor) -> Tensor:
    """(1, L): of (L, V) log f, what holds where there is no anatomy."""
    row = log_prior.new_full((1, len(log_prior)), math.log(FLOOR))
    row[0, 0] = 0.0
    return row


def _box_around(places: Tensor, shape: tuple[int, int, int]) -> tuple[slice, ...]:
    """Of (N, 3) voxels, two wider than where they lie, as far as there are any."""
    if not len(places):
        places = places.new_zeros(1, 3)
    ends = zip(places.amin(0).tolist(), places.amax(0).tolist(), shape, strict=True)
    return tuple(slice(max(0, first - 2), min(size, last + 3)) for first, last, size in ends)


def location_prior(frequency: Tensor, groups: Groups | None = None) -> LocationPrior:
    """Floor, renormalise and crop a label frequency.

    Args:
        frequency: (L, D, H, W), sums to one over labels; 0 is background; D, H, W even. The floor
            is 1e-4 before renormalising: no label is impossible where there is anatomy.
        groups: As `LocationPrior` has them; cells that held background alone are cut off.
    """
    shape = (int(frequency.shape[1]), int(frequency.shape[2]), int(frequency.shape[3]))
    outside = [0] if groups is None else list(groups[0])
    anatomy = (frequency[outside].sum(0) < 1 - 1e-6).float()[None, None]
    # One cell of slack: registered images never fit the training maps to the voxel.
    cell_mask = F.max_pool3d(anatomy, 2)
    cell_mask = F.max_pool3d(cell_mask, 3, stride=1, padding=1)
    cells = cell_mask.flatten().nonzero().flatten()
    inside = frequency.flatten(1).index_select(1, flat_index(cells, shape))
    floored = inside.clamp_min(FLOOR)
    return LocationPrior((floored / floored.sum(0)).log(), cells, shape, groups)
