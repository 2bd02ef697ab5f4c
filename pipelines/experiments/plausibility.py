"""How much drawn anatomies look like label maps, in figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import ks_2samp

from seg_prior.metrics.overlap import nan_mean
from seg_prior.models.neighbours import touching

Indices = NDArray[np.integer]
USUAL_SHARE = 0.5
"""A pair of neighbours that so many maps have is one that draws should have as often."""


@dataclass(frozen=True, eq=False)
class Shape:
    """What is measured of one anatomy.

    Attributes:
        components: (S,) connected components of each structure, corners count as contact; nan of
            one that is absent.
        volume_mm3: (S,)
        roughness: (S,) faces to other labels for each voxel; nan of one that is absent.
        pairs: (L, L) share of all faces between unlike labels that lie between these two.
    """

    components: NDArray[np.float64]
    volume_mm3: NDArray[np.float64]
    roughness: NDArray[np.float64]
    pairs: NDArray[np.float64]


def shape_of(
    label_map: Indices, num_labels: int, structures: Sequence[int], voxel_mm3: float
) -> Shape:
    """Measure one anatomy.

    Args:
        label_map: (D, H, W) label indices.
        num_labels: L, background included.
        structures: S indices.
        voxel_mm3: Volume of a voxel.
    """
    counts = np.bincount(label_map.ravel(), minlength=num_labels).astype(float)
    faces = touching(torch.from_numpy(label_map), num_labels).double().numpy()
    present = counts[structures] > 0
    components = [_num_components(label_map, index) for index in structures]
    roughness = faces.sum(1)[structures] / np.maximum(counts[structures], 1)
    return Shape(
        np.where(present, components, np.nan),
        counts[structures] * voxel_mm3,
        np.where(present, roughness, np.nan),
        np.triu(faces) / max(1.0, np.triu(faces).sum()),
    )


def _num_components(label_map: Indices, index: int) -> int:
    mask = label_map == index
    box = ndimage.find_objects(mask.astype(np.uint8))
    if not box:
        return 0
    return int(ndimage.label(mask[box[0]], np.ones((3, 3, 3)))[1])


@dataclass(frozen=True)
class Likeness:
    """How draws compare with maps.

    Attributes:
        components: Median over structures of their mean number of components, draws over maps.
        worst_components: The largest of these ratios.
        volume_distance, roughness_distance: Kolmogorov-Smirnov statistic, mean over structures.
        volume_spread: Standard deviation of volumes, draws over maps, median over structures.
        pairs_within: Share of usual pairs of neighbours whose mean frequency lies within two
            standard deviations of the maps' or within their range.
        pairs_distance: Half the summed differences of the mean frequencies of all pairs.
        strange_pairs: Share of the faces of draws between labels that touch in no map.
    """

    components: float
    worst_components: float
    volume_distance: float
    roughness_distance: float
    volume_spread: float
    pairs_within: float
    pairs_distance: float
    strange_pairs: float


def compare(draws: Sequence[Shape], maps: Sequence[Shape]) -> Likeness:
    """Draws, or other maps, against maps."""
    ratio = _mean([d.components for d in draws]) / _mean([m.components for m in maps])
    pairs, usual = np.stack([d.pairs for d in draws]), np.stack([m.pairs for m in maps])
    is_usual = (usual > 0).mean(0) >= USUAL_SHARE
    mean, sd = usual.mean(0), usual.std(0, ddof=1)
    drawn = pairs.mean(0)
    is_within = (abs(drawn - mean) <= 2 * sd) | ((usual.min(0) <= drawn) & (drawn <= usual.max(0)))
    volumes = [np.stack([s.volume_mm3 for s in group]) for group in (draws, maps)]
    spread = volumes[0].std(0, ddof=1) / volumes[1].std(0, ddof=1)
    return Likeness(
        components=float(np.nanmedian(ratio)),
        worst_components=float(np.nanmax(ratio)),
        volume_distance=_distance(*volumes),
        roughness_distance=_distance(
            *(np.stack([s.roughness for s in group]) for group in (draws, maps))
        ),
        volume_spread=float(np.nanmedian(spread)),
        pairs_within=float(is_within[is_usual].mean()),
        pairs_distance=float(abs(drawn - mean).sum() / 2),
        strange_pairs=float(drawn[(usual == 0).all(0)].sum()),
    )


def nearest_dice(label_map: Indices, others: Sequence[Indices], structures: Sequence[int]) -> float:
    """Dice, mean over structures of either map, with the map that it is most like."""
    size = 1 + max(int(one.max()) for one in (label_map, *others))
    index = [structure for structure in structures if structure < size]
    found = []
    for other in others:
        pairs = label_map.ravel().astype(np.int64) * size + other.ravel()
        both = np.bincount(pairs, minlength=size**2).reshape(size, size)
        total = (both.sum(0) + both.sum(1))[index]
        dice = 2 * both.diagonal()[index] / np.maximum(total, 1)
        found.append(float(dice[total > 0].mean()))
    return max(found)


def _mean(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """(S,) mean over anatomies that have the structure; nan where none has."""
    stacked = np.stack(rows)
    known = ~np.isnan(stacked)
    total = np.where(known, stacked, 0).sum(0)
    count = known.sum(0)
    mean: NDArray[np.float64] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def _distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Mean over columns of the Kolmogorov-Smirnov statistic of what is not nan."""
    found = []
    for a, b in zip(first.T, second.T, strict=True):
        a, b = a[~np.isnan(a)], b[~np.isnan(b)]
        if a.size and b.size:
            found.append(float(ks_2samp(a, b).statistic))
    return nan_mean(found)
