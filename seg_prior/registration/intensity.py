"""What an image measured and on which scale: field of view, robust normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from seg_prior.core.grid import Grid
from seg_prior.errors import ImageError
from seg_prior.io.itk import from_itk, to_itk

NORMALISED_RANGE = (-1.0, 4.0)

_PADDED_BORDER_SHARE = 0.1


def observed(data: NDArray[Any]) -> NDArray[np.bool_]:
    """The field of view: all voxels but a stripped or padded background.

    If at least a tenth of the outer faces holds exactly one value, and that value is 0 or the
    image's minimum, the face-connected regions of this value that touch the border were not
    measured. Holes of the same value inside the anatomy stay observed.

    Args:
        data: (I, J, K).

    Returns:
        (I, J, K), bool; all true for an image without such a background, all false for a constant.
    """
    sides = [np.moveaxis(data, axis, 0)[end].ravel() for axis in range(3) for end in (0, -1)]
    values, counts = np.unique(np.concatenate(sides), return_counts=True)
    value = values[counts.argmax()]
    if counts.max() < _PADDED_BORDER_SHARE * counts.sum() or value not in (0, data.min()):
        return np.ones(data.shape, dtype=bool)
    padding = sitk.BinaryGrindPeak(to_itk(data == value, _lattice(data.shape)), foregroundValue=1)
    return np.asarray(from_itk(padding)[0] == 0)


def normalise(
    data: NDArray[Any], observed: NDArray[np.bool_], source: str = "<array>"
) -> NDArray[np.float32]:
    """Intensities whose 1st and 99th percentile over the observed voxels are 0 and 1.

    Args:
        data: (I, J, K), any unit and range.
        observed: (I, J, K), the field of view.
        source: The image's name in messages.

    Returns:
        (I, J, K), float32; an affine rescale cut off at NORMALISED_RANGE, which only reaches
        outliers such as flow and metal; 0 where not observed.

    Raises:
        ImageError: Both percentiles are equal, as in a constant image, or nothing is observed.
    """
    values = data[observed]
    low, high = np.percentile(values, [1, 99]) if values.size else (float(data.flat[0]),) * 2
    if not high > low:
        raise ImageError(
            f"{source}: found an image without contrast (1st and 99th percentile both {low:.6g}), "
            "need a scan with varying intensities. Check that it is not a blank or a mask."
        )
    scaled = np.zeros(data.shape, dtype=np.float32)
    for plane, here, out in zip(data, observed, scaled, strict=True):
        normal = (plane.astype(np.float64) - low) / (high - low)
        np.copyto(out, np.clip(normal, *NORMALISED_RANGE), where=here, casting="same_kind")
    return scaled


def _lattice(shape: tuple[int, ...]) -> Grid:
    """A grid along the world's axes, for a filter that only looks at neighbourhoods."""
    i, j, k = shape
    return Grid((i, j, k), np.eye(4))
