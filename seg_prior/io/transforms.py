"""An affine between two worlds as a file of ITK and one of FreeSurfer."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from seg_prior.core.grid import Affine, Grid
from seg_prior.files import atomic_write, write_text
from seg_prior.io.itk import affine_to_itk


class Place(NamedTuple):
    """One side of a transform: what lies there, on which grid."""

    name: str
    grid: Grid


def write_itk_transform(path: Path, target_from_source: Affine) -> None:
    """Write what takes an image from a source to a target as ITK and ANTs have it, in a .tfm file.

    They look up, for each point of the target, the point of the source: the file holds the inverse,
    in LPS mm.

    Args:
        path: Ends in .tfm.
        target_from_source: (4, 4), RAS mm -> RAS mm.
    """
    source_from_target = np.linalg.inv(target_from_source).astype(np.float64)
    with atomic_write(path) as temporary:
        sitk.WriteTransform(affine_to_itk(source_from_target), str(temporary))


def write_lta(path: Path, target_from_source: Affine, source: Place, target: Place) -> None:
    """Write what takes an image from a source to a target as FreeSurfer has it, in an .lta file.

    The file holds the matrix itself, RAS mm -> RAS mm (its type 1), and both grids.

    Args:
        path: Ends in .lta.
        target_from_source: (4, 4), RAS mm -> RAS mm.
        source, target: What FreeSurfer's programs take the grids from.
    """
    lines = [
        "type      = 1 # LINEAR_RAS_TO_RAS",
        "nxforms   = 1",
        "mean      = 0.0000 0.0000 0.0000",
        "sigma     = 1.0000",
        "1 4 4",
        *(_numbers(row) for row in target_from_source),
        "src volume info",
        *_volume_info(source),
        "dst volume info",
        *_volume_info(target),
    ]
    write_text(path, "\n".join(lines) + "\n")


def _volume_info(place: Place) -> list[str]:
    grid = place.grid
    axes = (grid.affine[:3, :3] / grid.spacing_mm).T
    center_mm = grid.affine[:3] @ [*(np.asarray(grid.shape) / 2), 1]  # FreeSurfer's centre
    return [
        "valid = 1  # volume info valid",
        f"filename = {'_'.join(place.name.split())}",  # nitransforms reads no name with a space
        f"volume = {' '.join(map(str, grid.shape))}",
        f"voxelsize = {_numbers(grid.spacing_mm)}",
        *(f"{name}ras   = {_numbers(axis)}" for name, axis in zip("xyz", axes, strict=True)),
        f"cras   = {_numbers(center_mm)}",
    ]


def _numbers(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.15e}" for value in values)
