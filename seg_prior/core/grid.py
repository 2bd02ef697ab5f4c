"""A Grid says where the voxels of an array lie in the world: a shape and an affine."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]
MAX_SHIFT_VOXELS = 0.02
"""Grids that differ by less are one: a header that was written twice moves corners by a thousandth,
a quaternion of single precision by a hundredth."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular lattice of voxels in world space.

    Attributes:
        shape: Number of voxels along i, j, k.
        affine: (4, 4), voxel index -> millimetres in RAS+; any invertible matrix, so also oblique,
            flipped and sheared ones.
    """

    shape: tuple[int, int, int]
    affine: Affine

    def __repr__(self) -> str:
        return f"Grid({self.size})"

    @property
    def size(self) -> str:
        """Shape and spacing in words.

        >>> Grid((4, 5, 6), np.diag([-1.0, 2.0, 0.5, 1.0])).size
        '4 x 5 x 6 voxels of 1 x 2 x 0.5 mm'
        """
        shape = " x ".join(map(str, self.shape))
        return f"{shape} voxels of {' x '.join(f'{edge:.3g}' for edge in self.spacing_mm)} mm"

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """(3,) edge lengths of a voxel in millimetres.

        >>> Grid((4, 5, 6), np.diag([-1.0, 2.0, 0.5, 1.0])).spacing_mm.tolist()
        [1.0, 2.0, 0.5]
        """
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def nearest_axes(self) -> NDArray[np.int_]:
        """(3,) for each world axis the array axis nearest to it; each stands there once."""
        directions = np.abs(self.affine[:3, :3] / self.spacing_mm)
        orders = [np.array(order) for order in itertools.permutations(range(3))]
        return max(orders, key=lambda order: float(directions[np.arange(3), order].sum()))

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm^3, shear included.

        >>> round(Grid((4, 5, 6), np.diag([-1.0, 2.0, 0.5, 1.0])).voxel_volume_mm3, 6)
        1.0
        """
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def center_mm(self) -> NDArray[np.float64]:
        """(3,) world position of the middle of the lattice."""
        middle = (np.asarray(self.shape) - 1) / 2
        return np.asarray(self.affine[:3, :3] @ middle + self.affine[:3, 3])

    def shift_mm(self, other: Grid) -> float:
        """How far the corner that moves most lies from its place on a grid of the same shape."""
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1)
        shift = apply_affine(self.affine, corners.T) - apply_affine(other.affine, corners.T)
        return float(np.linalg.norm(shift, axis=1).max())

    def same_as(self, other: Grid, tolerance_voxels: float = MAX_SHIFT_VOXELS) -> bool:
        """Whether both grids have one shape and no corner moves by more than a share of a voxel.

        Of the shortest edge: headers round, and what they round to depends on the size of voxels.
        """
        if self.shape != other.shape:
            return False
        edge_mm = min(self.spacing_mm.min(), other.spacing_mm.min())
        return bool(self.shift_mm(other) <= tolerance_voxels * edge_mm)

    def crop(self, start: NDArray[np.int_], stop: NDArray[np.int_]) -> Grid:
        """The sub-lattice of voxels start <= index < stop; both (3,).

        >>> whole = Grid((9, 9, 9), np.diag([2.0, 2.0, 2.0, 1.0]))
        >>> part = whole.crop(start=np.array([1, 2, 3]), stop=np.array([9, 9, 9]))
        >>> part.shape, part.affine[:3, 3].tolist()
        ((8, 7, 6), [2.0, 4.0, 6.0])
        """
        affine = self.affine.copy()
        affine[:3, 3] = apply_affine(self.affine, start[None])[0]
        i, j, k = (int(n) for n in stop - start)
        return Grid((i, j, k), affine)

    def halved(self) -> Grid:
        """The lattice of half the spacing, whose voxels are the eighths of these.

        >>> fine = Grid((9, 9, 9), np.diag([2.0, 2.0, 2.0, 1.0])).halved()
        >>> fine.shape, fine.affine[:3, 3].tolist()
        ((18, 18, 18), [-0.5, -0.5, -0.5])
        """
        affine = self.affine.copy()
        affine[:3, :3] /= 2
        affine[:3, 3] -= affine[:3, :3] @ np.full(3, 0.5)
        i, j, k = self.shape
        return Grid((2 * i, 2 * j, 2 * k), affine)


def apply_affine(affine: Affine, points: NDArray[Any]) -> NDArray[np.float64]:
    """Map (N, 3) points through a (4, 4) affine.

    >>> prior_from_native = np.diag([2.0, 2.0, 2.0, 1.0])
    >>> apply_affine(prior_from_native, np.array([[1, 2, 3]])).tolist()
    [[2.0, 4.0, 6.0]]
    """
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3], dtype=np.float64)


MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])
