"""Which labels are left and right of each other, read from the geometry of label maps alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.grid import Affine, apply_affine
from seg_prior.core.labels import LabelTable
from seg_prior.core.sides import Pairs, side_of
from seg_prior.registration.groupwise import Landmarks

Floats = NDArray[np.float64]

MIRRORED = (
    "what its labels call left lies on the right by its header, so sides are a guess; mend the "
    "header or the labels"
)
_MAX_COST = 1.0  # of a pair: distance of the mirrored centroids in cube roots of the volume, ...
_VOLUME_COST = 1.0  # ... and so much for each factor e of volume between the two
_MIN_VOTES = 0.5  # of the maps that hold both labels
_MIN_AGREEMENT = 0.5  # of the anatomy's voxels must find their partner across the plane
_NUM_POINTS = 5000
_BESIDE = 0.05  # of the anatomy's radius: nearer to the middle, no side is sure


class Sides(NamedTuple):
    """Partners, and how well the mirror image bears them out.

    Attributes:
        partner: (L,) index of the label on the other side, or of the label itself.
        agreement: Median over maps of the share of anatomy whose mirror image carries the
            partner's label; a pair proposed by the centroids is dropped where it is below 0.5.
    """

    partner: NDArray[np.int64]
    agreement: float


def find_sides(
    maps: Sequence[NDArray[np.integer[Any]]],
    affines: Sequence[Affine],
    landmarks: Sequence[Landmarks],
    is_structure: NDArray[np.bool_],
) -> Sides:
    """Partners proposed from centroids and volumes, confirmed by the mirror image of all voxels.

    The plane of symmetry is x = constant in each map's world, as its header puts it.

    Args:
        maps: (I, J, K) label indices each.
        affines: (4, 4) each, voxel -> mm.
        landmarks: Of each map.
        is_structure: (L,), which labels can have sides.
    """
    num_labels = is_structure.size
    votes, together = np.zeros((num_labels, num_labels)), np.zeros((num_labels, num_labels))
    planes = []
    for marks in landmarks:
        pairs, plane_mm = _pairs(marks, is_structure)
        planes.append(plane_mm)
        is_there = marks.volumes_mm3 > 0
        together += np.outer(is_there, is_there)
        for a, b in pairs:
            votes[a, b] += 1
    partner = np.arange(num_labels)
    for a, b in np.argwhere(votes >= _MIN_VOTES * np.maximum(together, 1)):
        partner[a] = b
    agreement = float(
        np.median(
            [
                _agreement(indices, affine, plane_mm, partner, is_structure)
                for indices, affine, plane_mm in zip(maps, affines, planes, strict=True)
            ]
        )
    )
    is_symmetric = agreement >= _MIN_AGREEMENT and (partner[partner] == np.arange(num_labels)).all()
    return Sides(partner if is_symmetric else np.arange(num_labels), agreement)


def _pairs(
    marks: Landmarks, is_structure: NDArray[np.bool_]
) -> tuple[list[tuple[int, int]], float]:
    """Labels that are each other's best mirror image, both ways round, and the plane between."""
    plane_mm, found = float(marks.center_mm[0]), []
    for _ in range(3):
        found = _mutual(_costs(marks, plane_mm, is_structure))
        x_mm = marks.centroids_mm[:, 0]
        found = [(a, b) for a, b in found if (x_mm[a] - plane_mm) * (x_mm[b] - plane_mm) < 0]
        if found:
            plane_mm = float(np.median([(x_mm[a] + x_mm[b]) / 2 for a, b in found]))
    return found, plane_mm


def _costs(marks: Landmarks, plane_mm: float, is_structure: NDArray[np.bool_]) -> Floats:
    """(L, L): how badly label b fits the mirror image of label a; infinite where one is absent."""
    is_there = is_structure & (marks.volumes_mm3 > 0)
    mirrored = marks.centroids_mm * [-1, 1, 1] + [2 * plane_mm, 0, 0]
    away_mm = np.linalg.norm(mirrored[:, None] - marks.centroids_mm[None], axis=2)
    log_volume = np.log(np.maximum(marks.volumes_mm3, 1e-9))
    size_mm = np.exp((log_volume[:, None] + log_volume[None]) / 6)
    cost = away_mm / size_mm + _VOLUME_COST * np.abs(log_volume[:, None] - log_volume[None])
    return np.where(np.outer(is_there, is_there), cost, np.inf)


def _mutual(cost: Floats) -> list[tuple[int, int]]:
    best = cost.argmin(axis=1)
    return [
        (a, int(b))
        for a, b in enumerate(best)
        if a != b and best[b] == a and cost[a, b] < _MAX_COST
    ]


def _agreement(
    indices: NDArray[np.integer[Any]],
    affine: Affine,
    plane_mm: float,
    partner: NDArray[np.int64],
    is_structure: NDArray[np.bool_],
) -> float:
    """Share of the anatomy's voxels at whose mirror image the partner lies."""
    places = np.argwhere(is_structure[indices])
    places = places[:: 1 + len(places) // _NUM_POINTS]
    mirrored = apply_affine(affine, places) * [-1, 1, 1] + [2 * plane_mm, 0, 0]
    native_from_world: Affine = np.asarray(np.linalg.inv(affine), dtype=np.float64)
    index = np.rint(apply_affine(native_from_world, mirrored)).astype(int)
    is_inside = ((index >= 0) & (index < indices.shape)).all(axis=1)
    there = indices[tuple(index[is_inside].T)]
    here = indices[tuple(places[is_inside].T)]
    return float((partner[here] == there).sum() / len(places))


def is_mirrored(marks: Landmarks, pairs: Pairs) -> bool:
    """Whether most pairs that lie side by side have their left one on the right of the world."""
    x_mm = _shifts_x(marks, pairs)
    return bool((x_mm < 0).sum() > (x_mm > 0).sum())


def unlike_the_others(landmarks: Sequence[Landmarks], partner: NDArray[np.int64]) -> list[int]:
    """Maps whose pairs lie the other way round than in most maps, whatever they are called."""
    pairs = [(a, int(b)) for a, b in enumerate(partner) if a < b]
    if not pairs:
        return []
    signs = np.sign([_shifts_x(marks, pairs, keep=True) for marks in landmarks])
    usual = np.sign(signs.sum(axis=0))
    agreement = (signs * usual).sum(axis=1)
    return np.flatnonzero(agreement < 0).tolist()


def partners_on_one_side(
    landmarks: Sequence[Landmarks], table: LabelTable
) -> list[tuple[str, str]]:
    """Names of partners that are none: both called left, or on one side of most maps.

    Names that say left and right are believed; how the header has them, `is_mirrored` says. The
    middle of a map is that of its pairs and of its labels without a partner.
    """
    votes = np.array([_are_on_one_side(marks, table.partner) for marks in landmarks])  # (N, L)
    found = []
    for a, b in enumerate(table.partner.tolist()):
        if a >= b:
            continue
        sides = side_of(table.names[a]), side_of(table.names[b])
        known = votes[np.isfinite(votes[:, a]), a]
        is_wrong = known.sum() > known.size / 2 if None in sides else sides[0] == sides[1]
        if is_wrong:
            found.append((table.names[a], table.names[b]))
    return found


def _are_on_one_side(marks: Landmarks, partner: NDArray[np.int64]) -> Floats:
    """(L,) whether a label and its partner lie on one side; NaN where one is absent."""
    x_mm = marks.centroids_mm[:, 0]
    middles_mm = (x_mm + x_mm[partner]) / 2
    away_mm = x_mm - np.nanmedian(middles_mm[np.arange(partner.size) <= partner])
    is_beside = np.minimum(np.abs(away_mm), np.abs(away_mm[partner])) > _BESIDE * marks.radius_mm
    on_one_side = (away_mm * away_mm[partner] > 0) & is_beside
    return np.where(np.isfinite(middles_mm), on_one_side, np.nan)


def _shifts_x(marks: Landmarks, pairs: Pairs, keep: bool = False) -> Floats:
    """(P,) how far to the right the second of each pair lies, of those that lie side by side.

    Args:
        marks: Of one map.
        pairs: Indices of labels.
        keep: Whether those that do not stay, as 0.
    """
    if not pairs:
        return np.zeros(0)
    away = np.array([marks.centroids_mm[b] - marks.centroids_mm[a] for a, b in pairs])
    is_beside = np.abs(away[:, 0]) > np.linalg.norm(away[:, 1:], axis=1)  # false where absent
    return np.where(is_beside, away[:, 0], 0.0) if keep else away[is_beside, 0]
