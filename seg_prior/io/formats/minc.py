"""MINC of the Montreal Neurological Institute: version 2 (HDF5) and version 1 (netCDF)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np

from seg_prior.io.nibabel_file import quiet_nibabel
from seg_prior.io.stored import Format, Stored, missing_extra

_HDF5 = b"\x89HDF"


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Stored]:
    """Read by nibabel: ITK keeps MINC's RAS numbers as if they were LPS, and may stop doing so."""
    with path.open("rb") as file:
        is_second = file.read(4) == _HDF5
    if is_second and find_spec("h5py") is None:
        raise missing_extra(str(path), "h5py", "minc")
    kind = nib.minc2.Minc2Image if is_second else nib.minc1.Minc1Image
    with quiet_nibabel():
        image = kind.from_filename(str(path))
    affine = np.asarray(image.affine, dtype=np.float64)
    yield Stored(image.shape, image.dataobj, None, affine)


FORMAT = Format("MINC", (".mnc",), _open)
