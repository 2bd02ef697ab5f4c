"""The location prior: how often each label lies at each voxel of prior space, and where to look."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_prior.models.warp import to_unit

FLOOR = 1e-4
Groups = tuple[tuple[int, ...], ...]
CELL = 8
"""Voxels in one cell, a block of 2 x 2 x 2; the anatomy mask is made of whole cells."""


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
    prob_of_group: Tensor
    cells: Tensor
    voxels: Tensor
    log_grid: Tensor
    group_of_label: Tensor
    slope: Tensor

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
        self.register_buffer("log_prob", log_prob)
        of_group = self.by_group(log_prob.exp()[None])[0]
        self.register_buffer("prob_of_group", of_group, persistent=False)
        self.register_buffer("cells", cells)
        self.register_buffer("voxels", _voxels_of(cells, shape), persistent=False)
        log_grid = self.scatter(log_prob[None], math.log(FLOOR))
        # Outside the mask background is certain.
        outside = self.scatter(torch.zeros(1, 1, self.voxels.numel()), 1.0)[:, 0] > 0
        log_grid[:, 0][outside] = 0.0
        self.register_buffer("log_grid", log_grid, persistent=False)
        self.register_buffer("slope", self._slope(), persistent=False)

    def _slope(self) -> Tensor:
        """(3, G, V) how steep the probability of each label is along D, H, W, half precision."""
        slope = self.log_prob.new_empty(3, *self.prob_of_group.shape, dtype=torch.float16)
        for group, prob in enumerate(
            self.prob_of_group
        ):  # one by one: all would be half a gigabyte
            outside = 1.0 if group == 0 else FLOOR
            along = torch.gradient(self.scatter(prob[None, None], outside), dim=[2, 3, 4])
            slope[:, group] = self.gather(torch.cat(along))[:, 0]
        return slope

    @property
    def prob(self) -> Tensor:
        """(L, V) p_loc."""
        return self.log_prob.exp()

    @property
    def num_labels(self) -> int:
        """L, background included."""
        return int(self.log_prob.shape[0])

    def of_labels(self, values: Tensor) -> Tensor:
        """(B, G, V) of groups -> (B, L, V): each label has its group's."""
        return values.index_select(1, self.group_of_label)

    def by_group(self, prob: Tensor) -> Tensor:
        """(B, L, V) probabilities of labels -> (B, G, V) of groups."""
        return summed(prob, self.group_of_label, len(self.groups))

    def log_by_group(self, log_prob: Tensor) -> Tensor:
        """As `by_group`, of logarithms, which need not be normalised."""
        outside, *inside = self.groups
        background = log_prob[:, list(outside)].logsumexp(1, keepdim=True)
        return torch.cat([background, log_prob[:, [label for (label,) in inside]]], dim=1)

    def likeliest(self, log_prob: Tensor) -> Tensor:
        """(B, L, V) -> (B, V): of the likeliest group, its likeliest label."""
        best = self.log_by_group(log_prob).argmax(1, keepdim=True)
        is_in_best = self.group_of_label[:, None] == best
        return log_prob.masked_fill(~is_in_best, -math.inf).argmax(1)

    def gather(self, grid: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, C, V): the values inside the anatomy mask."""
        return grid.flatten(2).index_select(2, self.voxels)

    def force(self, soft_labels: Tensor) -> Tensor:
        """Which way each voxel would have to look to find its labels.

        sum_l (s_l - p_l) grad p_l: the direction in which a displacement of the location prior
        raises the probability of the labels; zero where the prior already expects them.

        Args:
            soft_labels: (B, G, V), `by_group`.

        Returns:
            (B, 3, V), per voxel of prior space along D, H, W.
        """
        residual = soft_labels - self.prob_of_group
        # One axis after the other: an einsum over labels would copy everything by voxel first.
        return torch.stack([(residual * slope).sum(1) for slope in self.slope], dim=1)

    def sample_moved(self, displacement: Tensor, cells: Tensor | None = None) -> Tensor:
        """log p_loc at displaced voxels, interpolated in log space.

        Args:
            displacement: (B, 3, d, h, w) in voxels of the full grid, on a coarser grid whose
                cells tile the full one; interpolated linearly.
            cells: (N,) which cells of the mask; all if None.

        Returns:
            (B, L, V), or (B, L, 8 N) of the chosen cells; not normalised.
        """
        batch = displacement.shape[0]
        full = F.interpolate(displacement, size=self.shape, mode="trilinear", align_corners=False)
        voxels = of_cells(self.voxels, cells)
        index = voxel_of(voxels, self.shape).T
        moved = to_unit(index + full.flatten(2).index_select(2, voxels), torch.Size(self.shape))
        return F.grid_sample(
            self.log_grid.expand(batch, -1, -1, -1, -1),
            moved.transpose(1, 2)[:, :, None, None],
            padding_mode="border",
            align_corners=True,
        ).flatten(2)

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


def voxel_of(flat: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """(N,) flat indices -> (N, 3) along D, H, W."""
    # torch.unravel_index imports sympy, which takes a second.
    _, height, width = shape
    return torch.stack([flat // (height * width), flat // width % height, flat % width], dim=1)


def summed(values: Tensor, sum_of_row: Tensor, num_sums: int) -> Tensor:
    """(B, N, V) -> (B, num_sums, V): rows of one sum added up.

    Args:
        values: The rows.
        sum_of_row: (N,), to which sum each belongs.
        num_sums: How many there are.
    """
    batch, _, num_voxels = values.shape
    return values.new_zeros(batch, num_sums, num_voxels).index_add_(1, sum_of_row, values)


def by_cell(values: Tensor) -> Tensor:
    """(B, C, V) -> (B, V / 8, C * 8): the eight voxels of a cell side by side."""
    batch, channels, num_voxels = values.shape
    return values.view(batch, channels, num_voxels // CELL, CELL).permute(0, 2, 1, 3).flatten(2)


def of_cells(values: Tensor, cells: Tensor | None) -> Tensor:
    """(..., V) -> (..., 8 N): the voxels of N cells; all if None."""
    if cells is None:
        return values
    return values.view(*values.shape[:-1], -1, CELL).index_select(-2, cells).flatten(-2)


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
    inside = frequency.flatten(1).index_select(1, _voxels_of(cells, shape))
    floored = inside.clamp_min(FLOOR)
    return LocationPrior((floored / floored.sum(0)).log(), cells, shape, groups)


def _voxels_of(cells: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """(V,) flat full-grid index of every voxel, cell by cell."""
    _, height, width = shape
    half_h, half_w = height // 2, width // 2
    d, h, w = cells // (half_h * half_w), cells // half_w % half_h, cells % half_w
    step = torch.arange(2, device=cells.device)
    dd = (2 * d)[:, None, None, None] + step[:, None, None]
    hh = (2 * h)[:, None, None, None] + step[None, :, None]
    ww = (2 * w)[:, None, None, None] + step[None, None, :]
    return ((dd * height + hh) * width + ww).flatten()
