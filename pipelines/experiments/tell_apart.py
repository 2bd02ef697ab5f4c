"""A small classifier that is taught to tell drawn anatomies from label maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIDE, CROPS = 12, 32
"""Voxels along a crop, and crops of each anatomy."""
RIDGE = 0.1
"""Of the covariance of features, in units of their variance."""
Features = NDArray[np.float64]


def accuracy(
    draws: Sequence[NDArray[np.uint8]],
    maps: Sequence[NDArray[np.uint8]],
    num_labels: int,
    seed: int,
) -> float:
    """Share of crops of 12^3 voxels that it puts right, of anatomies that it was not taught with.

    A linear discriminant of what `features` sees. Half of the draws and half of the maps teach it,
    and it is asked about the others; kinds count alike, so 0.5 is a guess.

    Args:
        draws, maps: (D, H, W) label indices each, at least two of a kind.
        num_labels: L.
        seed: Of the halves and the crops.
    """
    rng = np.random.default_rng(seed)
    taught, asked = [], []
    for kind in (draws, maps):
        rows = [_rows(label_map, num_labels, rng) for label_map in kind]
        order, half = rng.permutation(len(kind)), len(kind) // 2
        taught.append(np.concatenate([rows[n] for n in order[:half]]))
        asked.append(np.concatenate([rows[n] for n in order[half:]]))
    means = [rows.mean(0) for rows in taught]
    within = sum(np.cov(rows.T) for rows in taught) / 2
    ridge = RIDGE * np.diag(np.maximum(np.diag(within), 1e-6))
    direction = np.linalg.solve(within + ridge, means[0] - means[1])
    threshold = direction @ (means[0] + means[1]) / 2
    is_drawn = [rows @ direction > threshold for rows in asked]
    return float(is_drawn[0].mean() + 1 - is_drawn[1].mean()) / 2


def features(crop: NDArray[np.uint8], num_labels: int) -> Features:
    """Of the voxels that are not background: how many of their six neighbours have their label, as
    shares of 0 to 6; then the share of each label.
    """
    same = np.zeros(crop.shape, dtype=np.int64)
    for axis in range(3):
        along, count = np.moveaxis(crop, axis, 0), np.moveaxis(same, axis, 0)
        is_same = along[1:] == along[:-1]
        count[1:] += is_same
        count[:-1] += is_same
    anatomy = crop > 0
    neighbours = np.bincount(same[anatomy], minlength=7) / max(1, anatomy.sum())
    return np.concatenate([neighbours, np.bincount(crop.ravel(), minlength=num_labels) / crop.size])


def _rows(label_map: NDArray[np.uint8], num_labels: int, rng: np.random.Generator) -> Features:
    """(CROPS, 7 + L) features about random voxels that are not background."""
    padded, inside = np.pad(label_map, SIDE // 2), np.flatnonzero(label_map)
    corners = np.unravel_index(rng.choice(inside, CROPS), label_map.shape)
    crops = [
        padded[tuple(slice(c, c + SIDE) for c in corner)]
        for corner in np.stack(corners, axis=1).tolist()
    ]
    return np.stack([features(crop, num_labels) for crop in crops])
