"""A pair of files, .img and .hdr: Analyze 7.5, SPM's dialects of it, and NIfTI in two files."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

from seg_prior.errors import ImageError
from seg_prior.io.nibabel_file import quiet_nibabel, stored_by_nibabel
from seg_prior.io.packed import check_claim
from seg_prior.io.stored import Format, Stored, sides_unknown


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Stored]:
    """Read by nibabel, which takes x to run from right to left as SPM and FSL do.

    ITK turns y around as well. SPM's `.mat` beside the pair says where voxels lie, if it is there.
    """
    header_path, mat_path = (path.with_suffix(end) for end in (".hdr", ".mat"))
    if not header_path.is_file():
        raise ImageError(
            f"{path}: found no {header_path.name} beside it, need the header there. Copy it, too."
        )
    with quiet_nibabel():
        image = nib.load(path, mmap=False)
    shape, dtype = image.shape, image.get_data_dtype()
    if min(shape, default=0) < 1:
        raise ValueError(f"a shape of {shape}")
    end = int(image.dataobj.offset) + math.prod(shape) * dtype.itemsize
    check_claim(path, end, path.stat().st_size, is_packed=False)
    if isinstance(image, nib.Nifti1Pair):
        header = nib.Nifti1Header.from_header(image.header, check=False)
        yield stored_by_nibabel(header, image.affine, shape, image.dataobj)
        return
    affine = np.asarray(image.affine, dtype=np.float64)
    told = () if mat_path.is_file() else (sides_unknown("Analyze"),)
    yield Stored(shape, image.dataobj, None, affine, warnings=told)


def _parts(path: Path) -> list[Path]:
    return [path, *(path.with_suffix(end) for end in (".hdr", ".mat"))]


FORMAT = Format("Analyze or NIfTI pair", (".img",), _open, parts=_parts)
