"""Where a header puts its voxels: in millimetres, or refused."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np

from seg_prior.core.grid import Affine, Grid
from seg_prior.errors import ImageError
from seg_prior.io.stored import sides_unknown

MAX_EDGE_RATIO = 1000.0
"""Of the longest to the shortest edge of a voxel, shear included."""
_EDGE_RANGE_MM = (1e-6, 1e4)
_MAX_DISTANCE_MM = 1e7


def check_voxels(affine: Affine, shape: tuple[int, ...], source: str, unit: str) -> None:
    """Refuse voxels that are no boxes, or boxes of no use: work and memory would know no end."""
    if not np.isfinite(affine).all() or not np.linalg.matrix_rank(affine[:3, :3]) == 3:
        raise ImageError(
            f"{source}: its affine is singular; the voxels have no place in the world."
        )
    edges_mm = np.linalg.norm(affine[:3, :3], axis=0)
    size = " x ".join(f"{edge:.3g}" for edge in edges_mm)
    low, high = _EDGE_RANGE_MM
    if edges_mm.min() < low or edges_mm.max() > high:
        raise ImageError(
            f"{source}: found voxels of {size} mm{unit}, need {low:g} to {high:g} mm. "
            "Mend the voxel sizes or the unit in its header."
        )
    stretch = np.linalg.svd(affine[:3, :3], compute_uv=False)
    if stretch[0] > MAX_EDGE_RATIO * stretch[2]:
        raise ImageError(
            f"{source}: found voxels of {size} mm{unit} that are flat or sheared "
            f"{stretch[0] / stretch[2]:.2g} to 1, need at most {MAX_EDGE_RATIO:g} to 1. "
            "Mend the affine in its header."
        )
    away_mm = np.abs(affine[:3, 3]).max()
    if away_mm > _MAX_DISTANCE_MM:
        raise ImageError(
            f"{source}: its first voxel lies {away_mm:.2g} mm from the origin{unit}, need at most "
            f"{_MAX_DISTANCE_MM:.0e}. Mend the affine in its header."
        )


def mm_per_unit(header: Any) -> float:
    """Millimetres of one unit of a header's voxel sizes and affine; 1 where it names none."""
    if not isinstance(header, nib.Nifti1Header):
        return 1.0
    return {1: 1000.0, 3: 0.001}.get(int(header["xyzt_units"]) & 7, 1.0)


def affine_in(header: Any, grid: Grid) -> Affine:
    """A grid's affine in the units of a header."""
    mm = mm_per_unit(header)
    return np.asarray(grid.affine / np.array([mm, mm, mm, 1.0])[:, None])


def header_warnings(header: Any) -> tuple[str, ...]:
    """One line where a header places the volume nowhere, or in two places."""
    if isinstance(header, nib.freesurfer.mghformat.MGHHeader):
        return () if header["goodRASFlag"] else (sides_unknown("goodRASFlag 0"),)
    if not isinstance(header, nib.Nifti1Header):
        return ()
    sform, sform_code = header.get_sform(coded=True)
    try:
        qform, qform_code = header.get_qform(coded=True)
    except ValueError:  # a quaternion that is none
        return ("the qform in the header is not a rotation; the sform is used",)
    if not sform_code and not qform_code:
        return (sides_unknown("sform and qform code 0"),)
    if sform_code > 0 and qform_code > 0 and not np.allclose(sform, qform, atol=1e-2):
        shift = np.abs(sform - qform).max()
        return (
            f"sform (code {int(sform_code)}) and qform (code {int(qform_code)}) differ by up to "
            f"{shift:.3g}; the sform is used",
        )
    return ()
