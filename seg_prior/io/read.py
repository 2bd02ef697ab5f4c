"""Images of every format: what is read becomes a Volume in millimetres or is refused."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import ArrayLike, NDArray

from seg_prior.core.grid import Affine, Grid
from seg_prior.core.memory import too_much
from seg_prior.core.volume import Volume
from seg_prior.errors import ImageError, SegPriorError
from seg_prior.io.formats import format_of
from seg_prior.io.nibabel_file import quiet_nibabel, stored_by_nibabel
from seg_prior.io.stored import Stored, first_line

Image: TypeAlias = str | Path | SpatialImage | Volume | ArrayLike
"""What a caller may call an image: a path, a nibabel image, a Volume, or an array or a tensor."""

MAX_EDGE_RATIO = 1000.0
"""Of the longest to the shortest edge of a voxel, shear included."""
_EDGE_RANGE_MM = (1e-6, 1e4)
_MAX_DISTANCE_MM = 1e7
_MAX_ROUNDING = 1e-3  # of label ids that arithmetic has been through
_MAX_STEP = 0.1  # of label ids stored through a scale factor


def as_volume(image: Image, affine: Affine | None = None, index: int | None = None) -> Volume:
    """What a caller calls an image, as a Volume.

    Args:
        image: A path, a nibabel image, a Volume, or an array or a tensor, which needs an affine.
        affine: (4, 4), voxel -> millimetres in RAS+, of an array; nothing else takes one.
        index: Which volume of a series to take, from 0.

    Raises:
        ImageError: As `read_volume`, or the affine is missing, too much or of another shape.
    """
    is_array = not isinstance(image, (str, Path, SpatialImage, Volume))
    if is_array != (affine is not None):
        raise ImageError(
            f"image: found a {type(image).__name__} {'without' if affine is None else 'with'} an "
            "affine, need one with an array and none with anything else."
        )
    if is_array:
        data = _array_of(image)
        return _checked(Stored(data.shape, data, None, _affine_of(affine)), "<array>", index)
    if isinstance(image, Volume):
        return image
    if isinstance(image, SpatialImage):
        stored = stored_by_nibabel(image.header, image.affine, image.shape, image.dataobj)
        return _checked(stored, image.get_filename() or "<image>", index)
    return read_volume(Path(str(image)), index)


def _array_of(image: Any) -> NDArray[Any]:
    """An array of what may be a tensor, on whatever device and with whatever gradient."""
    try:
        return np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    except Exception as error:
        raise ImageError(
            f"image: found a {type(image).__name__} that is no array of numbers "
            f"({first_line(error)}), need one; convert it to float32."
        ) from error


def _affine_of(affine: Any) -> NDArray[np.float64]:
    try:
        found = np.asarray(affine, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ImageError("affine: found no numbers, need a 4 x 4 matrix of them.") from error
    if found.shape != (4, 4):
        raise ImageError(f"affine: found the shape {found.shape}, need (4, 4).")
    return found


def read_volume(path: Path, index: int | None = None) -> Volume:
    """Read a 3-D image of finite intensities; singleton axes beyond the third are dropped.

    Args:
        path: The file.
        index: Which volume of a series to take, from 0.

    Raises:
        ImageError: The file is missing, truncated or damaged, not an image, not 3-D, empty, larger
            than memory, has voxels that are no boxes of any use, holds NaN or infinite values, or
            has no such volume.
    """
    with open_image(path) as stored:
        return _checked(stored, str(path), index)


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[Stored]:
    """An image file, or a folder that is one, whose voxels can be read inside the block.

    Args:
        path: Its suffix says which format it is.

    Raises:
        ImageError: The file is missing, no image, claims more than it can hold, or is damaged.
        ExtraError: The package that reads it is not installed.
    """
    if not path.exists():
        raise ImageError(f"{path}: {_absence(path)}")
    form = format_of(path)
    with contextlib.ExitStack() as stack:
        try:
            stored = stack.enter_context(form.open(path))
        except SegPriorError:
            raise
        except Exception as error:  # damaged headers make libraries raise KeyError, zlib.error, ...
            raise ImageError(
                f"{path}: not a readable {form.name} image ({first_line(error)}). "
                "Convert it to .nii.gz."
            ) from error
        yield stored


def _absence(path: Path) -> str:
    if path.is_symlink():
        return (
            f"found a link to {os.readlink(path)}, where no file is. Fetch it, for instance with "
            "datalad get."
        )
    return "no such file. Check the path."


def _checked(stored: Stored, source: str, index: int | None) -> Volume:
    """What is stored as a Volume, if it can be one."""
    shape, part = _one_volume(stored.shape, source, index)
    if min(shape) < 2:
        raise ImageError(f"{source}: found shape {shape}, need at least 2 voxels along each axis.")
    _check_voxels(stored, source)
    # Stored and scaled, and a copy in between.
    refusal = too_much(16.0 * np.prod(shape, dtype=float))
    if refusal:
        raise ImageError(f"{source}: reading shape {shape} {refusal}. Crop or resample it.")
    try:
        with quiet_nibabel(), np.errstate(all="ignore"):
            data = np.asanyarray(stored.dataobj[part]).reshape(shape)
    except Exception as error:  # what the decompressor met
        raise ImageError(
            f"{source}: its voxels cannot be read ({first_line(error)}); the file is "
            "truncated or damaged. Copy or convert it again."
        ) from error
    i, j, k = shape
    grid = Grid((i, j, k), stored.affine)
    return Volume(_real(data, source), grid, stored.header, source, stored.warnings)


def _check_voxels(stored: Stored, source: str) -> None:
    """Refuse voxels that are no boxes, or boxes of no use: work and memory would know no end."""
    affine, unit_mm = stored.affine, stored.unit_mm
    unit = "" if unit_mm == 1 else f" (its header counts in {unit_mm:g} mm)"
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


def _real(data: NDArray[Any], source: str) -> NDArray[Any]:
    """Finite numbers, of a type and a byte order that all libraries know."""
    if data.dtype == bool:
        return data.astype(np.uint8)
    if not np.issubdtype(data.dtype, np.number) or np.iscomplexobj(data):
        raise ImageError(f"{source}: found voxels of type {data.dtype}, need real numbers.")
    if data.dtype.kind == "f" and data.dtype.itemsize not in (4, 8):  # half and long double
        data = data.astype(np.float32 if data.dtype.itemsize < 4 else np.float64)
    data = data.astype(data.dtype.newbyteorder("="), copy=False)
    if not np.isfinite(data).all():
        count = int(np.size(data) - np.isfinite(data).sum())
        raise ImageError(
            f"{source}: found {count} NaN or infinite voxels, need finite intensities. "
            "Replace them, for instance by 0."
        )
    return data


def _one_volume(
    shape: tuple[int, ...], source: str, index: int | None
) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """Shape of one volume of an image, and which part of the image that is."""
    num_axes = len(shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 3 and not index:
        return shape, (...,)
    if len(shape) == 4 and index is not None and 0 <= index < shape[3]:
        return shape[:3], (slice(None),) * 3 + (index,) + (0,) * (num_axes - 4)
    if len(shape) in (3, 4) and index is not None:
        num = shape[3] if len(shape) == 4 else 1
        raise ImageError(f"{source}: found no volume {index}, need 0 to {num - 1}.")
    advice = (
        f"Choose one with --frame 0 to {shape[3] - 1}."
        if len(shape) == 4
        else "Extract one volume into a file of its own."
    )
    raise ImageError(
        f"{source}: found a {len(shape)}D image of shape {shape}, need one 3D volume. {advice}"
    )


def read_label_map(path: Path) -> Volume:
    """Read a volume of integer ids, whatever type they are stored in.

    Ids that a scale factor has made 2.999999999 are 3.

    Raises:
        ImageError: As `read_volume`, or the values are not whole numbers >= 0.
    """
    with open_image(path) as stored:
        volume = _checked(stored, str(path), None)
        # A scaled integer is true to half a step.
        step = stored.step if stored.step <= _MAX_STEP else 0.0
    values = volume.data
    is_whole = True
    if values.dtype.kind == "f":
        values = np.rint(values)
        away = float(np.abs(values - volume.data).max())
        is_whole = away <= max(_MAX_ROUNDING, 0.51 * step)
    if not is_whole or values.min() < 0 or values.max() > np.iinfo(np.int32).max:
        raise ImageError(
            f"{path}: found values that are not whole numbers >= 0, need a map of label ids. "
            "Is it an intensity or probability image?"
        )
    ids = values.astype(np.int32)
    return Volume(ids, volume.grid, volume.header, volume.source, volume.warnings)
