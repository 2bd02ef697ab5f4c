"""How far apart the surfaces of a label map and its reference lie, in millimetres."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.integer[Any]]
Box = tuple[slice, slice, slice]


class SurfaceDistance(NamedTuple):
    """The two distances of one label.

    Attributes:
        hd95_mm: Larger of the two directed 95th percentiles (prediction to reference and back).
        mean_mm: Mean over the surface voxels of both maps taken together.
    """

    hd95_mm: float
    mean_mm: float


def surface_distance_by_id(
    pred: IntArray, ref: IntArray, spacing_mm: NDArray[np.float64]
) -> dict[int, SurfaceDistance]:
    """Surface distances of every id > 0 that both maps have.

    A surface is the voxels of a label with a face neighbour outside it; the image border is
    outside. Ids that one map lacks have no distance and are no keys. Each label is computed on its
    bounding box, so that memory stays small.

    Args:
        pred, ref: (I, J, K), ids >= 0 on one grid.
        spacing_mm: (3,) voxel edge lengths; the axes are taken as orthogonal, so on a sheared grid
            the distances are approximate.

    Returns:
        id -> distances in mm, in order of id.

    >>> pred, ref = np.zeros((2, 8, 3, 3), dtype=int)
    >>> pred[1], ref[4] = 7, 7  # two plates, three voxels apart
    >>> surface_distance_by_id(pred, ref, np.array([0.5, 1.0, 1.0]))
    {7: SurfaceDistance(hd95_mm=1.5, mean_mm=1.5)}
    """
    in_pred, in_ref = _boxes(pred), _boxes(ref)
    distances = {}
    for id_ in sorted(in_pred.keys() & in_ref.keys()):
        box = _union(in_pred[id_], in_ref[id_])
        distances[id_] = _distance(pred[box] == id_, ref[box] == id_, spacing_mm)
    return distances


def _distance(
    pred: NDArray[np.bool_], ref: NDArray[np.bool_], spacing_mm: NDArray[np.float64]
) -> SurfaceDistance:
    # Imported here because it takes seconds and most commands never measure surfaces.
    from monai.metrics import get_mask_edges, get_surface_distance

    # One pair of edges serves both numbers; MONAI's two metric classes would each find them anew.
    pred_edge, ref_edge = get_mask_edges(pred, ref)
    there = get_surface_distance(pred_edge, ref_edge, spacing=spacing_mm)
    back = get_surface_distance(ref_edge, pred_edge, spacing=spacing_mm)
    return SurfaceDistance(
        hd95_mm=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        mean_mm=float(np.concatenate([there, back]).mean(dtype=np.float64)),
    )


def _boxes(label_map: IntArray) -> dict[int, Box]:
    """Bounding box of every id > 0, found in one pass."""
    from scipy.ndimage import find_objects

    # Ranks, because find_objects makes a list as long as the largest value.
    ids = np.unique(label_map)
    boxes = find_objects(np.searchsorted(ids, label_map) + 1)
    return {id_: box for id_, box in zip(ids.tolist(), boxes, strict=True) if id_ > 0}


def _union(one: Box, other: Box) -> Box:
    i, j, k = (
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return (i, j, k)
