"""What a registration compares: a scan and the image that a prior expects, at one resolution."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from seg_prior.core.grid import Grid, apply_affine
from seg_prior.io.itk import from_itk, to_itk
from seg_prior.registration.resample import resample_mean

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Lengths are in sizes, the cube root of the anatomy's volume: 11 cm for a human brain.
_VOXELS_PER_SIZE = (42, 28, 14)  # 2.7, 4 and 8 mm for a human brain
_PADDING = 1 / 3  # zeros around a stripped image, so that its outline counts

# A stripped organ floats in its image; a whole head is cut off at the neck and larger.
_MAX_STRIPPED_BORDER = 0.03  # of the faces may be observed
_MAX_STRIPPED_VOLUMES = 5  # in anatomies of the prior
_TISSUE_FLOOR = 0.1  # of the intensity range keeps a stripped background apart from dark tissue
_BINS = 16  # with more, a coarse level's few voxels tell by chance as much as by anatomy


@dataclass(frozen=True, eq=False)
class PyramidImage:
    """An image with a weight for every voxel.

    Attributes:
        pair: (2, I, J, K), value times weight, and weight; both in 0..1.
        grid: Any invertible affine.
        is_stripped: Whether what has no weight is known to be empty; else it is unknown.
    """

    pair: Floats
    grid: Grid
    is_stripped: bool

    @property
    def center_mm(self) -> NDArray[np.float64]:
        """(3,) centre of the weights if stripped, else of the intensities."""
        mass = self.pair[1 if self.is_stripped else 0].astype(np.float64)
        along = [mass.sum(_others(axis)) for axis in range(3)]
        index = [(line * np.arange(line.size)).sum() / line.sum() for line in along]
        return np.asarray(apply_affine(self.grid.affine, np.array([index]))[0])

    @property
    def volume_mm3(self) -> float:
        """What the weights add up to."""
        return float(self.pair[1].sum(dtype=np.float64)) * self.grid.voxel_volume_mm3

    def known(self) -> tuple[Floats, Mask]:
        """(I, J, K) values, and where they are known."""
        values, weight = self.pair
        if self.is_stripped:
            return values, np.ones(values.shape, dtype=bool)
        return values / np.maximum(weight, 1e-3), weight > 0.5

    def at(self, index: NDArray[np.float64]) -> tuple[Floats, Mask]:
        """Values at (P, N, 3) voxel indices, linear, and where they are known; both (P, N)."""
        values, is_known = self.known()
        pair = torch.from_numpy(np.stack([values, is_known.astype(np.float32)]))
        position = 2 * index / (np.array(self.grid.shape) - 1) - 1
        points = torch.from_numpy(position[None, None, ..., ::-1].astype(np.float32))
        sampled = F.grid_sample(pair[None], points, align_corners=True)[0, :, 0]  # (2, P, N)
        # Around a stripped image there is nothing, however far away.
        return sampled[0].numpy(), (sampled[1].numpy() > 0.5) | self.is_stripped

    def averaged(self, spacing_mm: float, margin_mm: float) -> PyramidImage:
        """On cubic voxels along the world's axes, with a margin of nothing around."""
        ends = np.array(list(itertools.product(*[(-0.5, n - 0.5) for n in self.grid.shape])))
        corners = apply_affine(self.grid.affine, ends)
        low, high = corners.min(axis=0) - margin_mm, corners.max(axis=0) + margin_mm
        i, j, k = (max(2, math.ceil(length / spacing_mm)) for length in high - low)
        affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
        affine[:3, 3] = (low + high) / 2 - spacing_mm * (np.array([i, j, k]) - 1) / 2
        grid = Grid((i, j, k), affine)
        pair = resample_mean(torch.from_numpy(self.pair), self.grid, grid)
        return replace(self, pair=pair.numpy(), grid=grid)


@dataclass(frozen=True, eq=False)
class Level:
    """Both sides at one resolution.

    Attributes:
        prior: The expected image, weighed by its anatomy; cubic voxels along the world's axes.
        native: The image, weighed by its field of view; likewise.
        near: The voxels of `prior` that are compared.
    """

    prior: PyramidImage
    native: PyramidImage
    near: Mask

    def joint(
        self, native_from_prior: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Joint histograms under (P, 4, 4) poses, and the share of near voxels the image reaches.

        Returns:
            (P, 16, 16), counts by expected and by image intensity, and (P,).
        """
        points = apply_affine(self.prior.grid.affine, np.argwhere(self.near))
        index_from_prior = np.linalg.inv(self.native.grid.affine) @ native_from_prior
        index = points @ index_from_prior[:, :3, :3].transpose(0, 2, 1)
        values, is_known = self.native.at(index + index_from_prior[:, None, :3, 3])
        expected = np.minimum(self.prior.pair[0][self.near] * _BINS, _BINS - 1).astype(int)
        bins = expected * _BINS + np.minimum(values * _BINS, _BINS - 1).astype(int)
        bins += np.arange(len(bins))[:, None] * _BINS**2
        counts = np.bincount(bins[is_known], minlength=len(bins) * _BINS**2)
        return counts.reshape(-1, _BINS, _BINS).astype(float), is_known.mean(axis=1)

    def information(self, native_from_prior: NDArray[np.float64]) -> NDArray[np.float64]:
        """(P,) mutual information in nats per near voxel; an unreached voxel tells nothing."""
        joint, reached = self.joint(native_from_prior)
        return (entropy(joint.sum(1)) + entropy(joint.sum(2)) - entropy(joint)) * reached


def entropy(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P,) entropies in nats of (P, ...) counts; 0 where nothing was counted."""
    flat = counts.reshape(len(counts), -1)
    share = flat / np.maximum(flat.sum(axis=1, keepdims=True), 1)
    return -np.asarray((share * np.log(np.maximum(share, 1e-30))).sum(axis=1))


def prior_image(expected: NDArray[np.float32], grid: Grid, anatomy: Mask) -> PyramidImage:
    """The prior's expected intensity, scaled to at most 1 and fading out beyond its anatomy."""
    pair = np.stack([expected / expected.max(), anatomy]).astype(np.float32)
    box, grid = _box(anatomy, grid)
    return PyramidImage(pair[:, *box], grid, is_stripped=True)


def native_image(
    image: NDArray[np.float32], observed: Mask, grid: Grid, anatomy_mm3: float
) -> PyramidImage:
    """An image scaled between its 1st and 99th percentile, weighed by its field of view.

    Its axes are put in the world's order first, so that the order of the file leaves no trace.
    """
    low, high = np.percentile(image[observed], [1, 99])
    sides = [np.moveaxis(observed, axis, 0)[end].ravel() for axis in range(3) for end in (0, -1)]
    observed_mm3 = float(observed.sum()) * grid.voxel_volume_mm3
    is_stripped = bool(
        np.concatenate(sides).mean() < _MAX_STRIPPED_BORDER
        and observed_mm3 < _MAX_STRIPPED_VOLUMES * anatomy_mm3
    )
    box, grid = _box(observed, grid)  # first, since most of a stripped image is empty
    pair = np.zeros((2, *grid.shape), dtype=np.float32)
    # No array of doubles.
    for plane, here, *out in zip(image[box], observed[box], *pair, strict=True):
        tissue = np.clip((plane - low) / (high - low), 0, 1) * (1 - _TISSUE_FLOOR) + _TISSUE_FLOOR
        out[0][:], out[1][:] = tissue * here, here
    return _reoriented(PyramidImage(pair, grid, is_stripped))


def _reoriented(side: PyramidImage) -> PyramidImage:
    """Axes permuted and flipped to the nearest to RAS; voxels stay where they are."""
    order = side.grid.nearest_axes
    pair = side.pair.transpose(0, *[axis + 1 for axis in order])
    affine = side.grid.affine[:, [*order, 3]]
    for axis in range(3):
        if affine[axis, axis] < 0:
            affine[:3, 3] += affine[:3, axis] * (pair.shape[axis + 1] - 1)
            affine[:3, axis] *= -1
            pair = np.flip(pair, axis + 1)
    i, j, k = pair.shape[1:]
    return PyramidImage(np.ascontiguousarray(pair), Grid((i, j, k), affine), side.is_stripped)


def finest_spacing_mm(anatomy: Mask, grid: Grid) -> float:
    """Of the finest level; `anatomy` on prior space's `grid`."""
    size_mm = np.cbrt(float(anatomy.sum()) * grid.voxel_volume_mm3)
    return max(float(grid.spacing_mm.min()), float(size_mm) / _VOXELS_PER_SIZE[0])


def pyramid_levels(
    prior: PyramidImage, native: PyramidImage, size_mm: float, surround_mm: float
) -> list[Level]:
    """Fine, medium and coarse, each averaged from the one before; none finer than the prior.

    Args:
        prior, native: The two sides.
        size_mm: Cube root of the anatomy's volume.
        surround_mm: So far around the anatomy the sides are compared too.
    """
    finest_mm = float(prior.grid.spacing_mm.min())
    margins_mm = (surround_mm + size_mm / 14, _PADDING * size_mm if native.is_stripped else 0.0)
    found = []
    for voxels_per_size in _VOXELS_PER_SIZE:
        spacing_mm = max(finest_mm, size_mm / voxels_per_size)
        prior = prior.averaged(spacing_mm, margins_mm[0])
        native = native.averaged(spacing_mm, margins_mm[1])
        margins_mm = (0.0, 0.0)
        anatomy = to_itk(prior.pair[1] > 0.5, prior.grid)
        near = from_itk(sitk.BinaryDilate(anatomy, [round(surround_mm / spacing_mm)] * 3))[0] > 0
        found.append(Level(prior, native, near))
    return found


def _box(is_used: Mask, grid: Grid) -> tuple[tuple[slice, ...], Grid]:
    """The box around what is used of a grid, and its part of the grid."""
    lines = [np.nonzero(is_used.any(_others(axis)))[0] for axis in range(3)]
    start = np.array([line[0] for line in lines])
    stop = np.array([line[-1] + 1 for line in lines])
    return tuple(slice(a, b) for a, b in zip(start, stop, strict=True)), grid.crop(start, stop)


def _others(axis: int) -> tuple[int, ...]:
    return tuple({0, 1, 2} - {axis})
