"""The common frame of a set of label maps: closed-form affine fits of label centroids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.grid import Affine, Grid, apply_affine

Floats = NDArray[np.float64]
RIDGE = 0.02
"""Weight of the moment fit (shift and one scale) beside the centroids; it decides where nested or
few labels leave an affine undetermined, and bends a well-determined one by about its own size."""


@dataclass(frozen=True, eq=False)
class Landmarks:
    """What one label map contributes to the group.

    Attributes:
        centroids_mm: (L, 3) world centroid of every label; NaN where the label is absent.
        volumes_mm3: (L,), 0 where absent.
        center_mm: (3,) centroid of all structures together.
        radius_mm: Root mean square distance of the anatomy from its centre.
    """

    centroids_mm: Floats
    volumes_mm3: Floats
    center_mm: Floats
    radius_mm: float


@dataclass(frozen=True, eq=False)
class Group:
    """A common frame.

    Attributes:
        prior_from_native: One (4, 4) world mm -> world mm affine for each label map.
        reference: The mean anatomy's landmarks in the common frame.
        residual_mm: For each label map, root mean square distance of its moved centroids from the
            reference; large for an outlier.
    """

    prior_from_native: tuple[Affine, ...]
    reference: Landmarks
    residual_mm: tuple[float, ...]


def find_landmarks(
    indices: NDArray[np.integer[Any]], affine: Affine, is_structure: NDArray[np.bool_]
) -> Landmarks:
    """Landmarks of one map of label indices.

    Args:
        indices: (I, J, K), 0 <= value < L, with at least one voxel of a structure.
        affine: (4, 4), voxel -> mm.
        is_structure: (L,); the other labels (background, nuisance) leave no mark.
    """
    num_labels = is_structure.size
    inside = np.nonzero(is_structure[indices])
    labels = indices[inside]
    counts = np.bincount(labels, minlength=num_labels).astype(float)
    points = apply_affine(affine, np.stack(inside, axis=1))
    sums = np.stack([np.bincount(labels, points[:, a], num_labels) for a in range(3)], axis=1)
    with np.errstate(invalid="ignore"):
        centroids = sums / counts[:, None]
    center = points.mean(axis=0)
    radius = float(np.sqrt(((points - center) ** 2).sum(axis=1).mean()))
    voxel_volume = float(abs(np.linalg.det(affine[:3, :3])))
    return Landmarks(centroids, counts * voxel_volume, center, radius)


def mirror(landmarks: Landmarks, partner: NDArray[np.int64]) -> Landmarks:
    """The landmarks of the mirror image: x changes sign, left and right labels swap."""
    flip = np.array([-1.0, 1.0, 1.0])
    return Landmarks(
        landmarks.centroids_mm[partner] * flip,
        landmarks.volumes_mm3[partner],
        landmarks.center_mm * flip,
        landmarks.radius_mm,
    )


def fit_affine(moving: Landmarks, reference: Landmarks) -> Affine:
    """The (4, 4) affine that takes `moving` onto `reference`, least squares over centroids.

    Labels weigh by the root of their reference volume. The moment fit (centre and radius) enters
    as a ridge term, so that nested shells or a single label still give a stable answer.
    """
    shared = np.isfinite(moving.centroids_mm[:, 0]) & np.isfinite(reference.centroids_mm[:, 0])
    weight = np.sqrt(reference.volumes_mm3[shared])
    weight = weight / weight.sum()
    source = moving.centroids_mm[shared] - moving.center_mm
    target = reference.centroids_mm[shared] - reference.center_mm
    source_mean, target_mean = weight @ source, weight @ target
    source, target = source - source_mean, target - target_mean

    scale = reference.radius_mm / moving.radius_mm
    ridge = RIDGE * moving.radius_mm**2 / 3
    normal = source.T @ (weight[:, None] * source) + ridge * np.eye(3)
    linear = np.linalg.solve(
        normal, source.T @ (weight[:, None] * target) + ridge * scale * np.eye(3)
    )
    affine = np.eye(4)
    affine[:3, :3] = linear.T
    affine[:3, 3] = reference.center_mm + target_mean - linear.T @ (moving.center_mm + source_mean)
    return affine


def fit_group(maps: Sequence[Landmarks], partner: NDArray[np.int64], rounds: int = 10) -> Group:
    """Iterate fits onto the mean and means of the fits, until they agree.

    Where the table has left/right partners every map joins the group together with its mirror
    image: the frame's plane x = 0 is then the plane of symmetry. The mean of the linear parts is
    held at the identity, so that the frame has the group's mean size and no drift.
    """
    num_maps = len(maps)
    centered = [_centered(landmarks) for landmarks in maps]
    if (partner != np.arange(partner.size)).any():
        centered += [mirror(landmarks, partner) for landmarks in centered]
    reference = _mean(centered, [np.eye(4)] * len(centered))
    for _ in range(rounds):
        fits = [fit_affine(landmarks, reference) for landmarks in centered]
        drift = np.eye(4)
        drift[:3, :3] = np.linalg.inv(np.mean([fit[:3, :3] for fit in fits], axis=0))
        fits = [drift @ fit for fit in fits]
        reference = _mean(centered, fits)
    to_center = [_shift(-landmarks.center_mm) for landmarks in maps]
    residuals = [_residual_mm(centered[n], fits[n], reference) for n in range(num_maps)]
    return Group(
        tuple(fits[n] @ to_center[n] for n in range(num_maps)), reference, tuple(residuals)
    )


def bounding_grid(
    extents_mm: Sequence[tuple[Floats, Floats]], spacing_mm: float, margin_mm: float, multiple: int
) -> Grid:
    """The smallest axis-aligned RAS grid around all extents, centred on x = 0 if that is inside.

    Args:
        extents_mm: (lowest, highest) corner, each (3,), of every anatomy in the common frame.
        spacing_mm: Edge length of the grid's cubic voxels.
        margin_mm: Added on all sides.
        multiple: Every side is a whole multiple of this many voxels.
    """
    low = np.min([low for low, _ in extents_mm], axis=0) - margin_mm
    high = np.max([high for _, high in extents_mm], axis=0) + margin_mm
    if low[0] < 0 < high[0]:
        high[0] = max(high[0], -low[0])
        low[0] = -high[0]
    # Three at least: bfloat16 convolutions of torch 2.13 go wrong on CPUs where a side is 2.
    blocks = np.ceil((high - low) / (spacing_mm * multiple)).astype(int).clip(min=3)
    i, j, k = (int(n) for n in blocks * multiple)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = (low + high) / 2 - (np.array([i, j, k]) - 1) / 2 * spacing_mm
    return Grid((i, j, k), affine)


def _centered(landmarks: Landmarks) -> Landmarks:
    return Landmarks(
        landmarks.centroids_mm - landmarks.center_mm,
        landmarks.volumes_mm3,
        np.zeros(3),
        landmarks.radius_mm,
    )


def _mean(maps: Sequence[Landmarks], fits: Sequence[Affine]) -> Landmarks:
    """Mean landmarks after the fits; a label absent from some maps is averaged over the others."""
    moved = np.stack([apply_affine(f, m.centroids_mm) for m, f in zip(maps, fits, strict=True)])
    present = np.isfinite(moved)
    count = present.sum(axis=0)
    centroids = np.where(count > 0, np.where(present, moved, 0).sum(axis=0), np.nan)
    radii = [
        m.radius_mm * abs(np.linalg.det(f[:3, :3])) ** (1 / 3)
        for m, f in zip(maps, fits, strict=True)
    ]
    return Landmarks(
        centroids / np.maximum(count, 1),
        np.mean([m.volumes_mm3 for m in maps], axis=0),
        np.mean(
            [apply_affine(f, m.center_mm[None])[0] for m, f in zip(maps, fits, strict=True)], 0
        ),
        float(np.mean(radii)),
    )


def _shift(offset_mm: Floats) -> Affine:
    affine = np.eye(4)
    affine[:3, 3] = offset_mm
    return affine


def _residual_mm(moving: Landmarks, fit: Affine, reference: Landmarks) -> float:
    squared = ((apply_affine(fit, moving.centroids_mm) - reference.centroids_mm) ** 2).sum(axis=1)
    return float(np.sqrt(np.nanmean(squared)))
