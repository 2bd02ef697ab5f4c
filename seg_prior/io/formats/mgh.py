"""MGH, the format of FreeSurfer, packed or not."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from seg_prior.core.labels import LabelTable
from seg_prior.core.volume import Volume
from seg_prior.io.nibabel_file import open_stream, quiet_nibabel
from seg_prior.io.stored import Format

_HEADER_BYTES = 284
_FLAG = slice(28, 30)
_DEFAULT = {"delta": 1, "Mdc": [[-1, 0, 0], [0, 0, -1], [0, 1, 0]], "Pxyz_c": 0}
"""Where FreeSurfer places a volume without goodRASFlag: coronal, 1 mm, its centre at 0. nibabel's
own default has the second and third rows with the other sign, the head upside down."""


def _read_header(stream: BinaryIO) -> Any:
    head = stream.read(_HEADER_BYTES)
    header = nib.freesurfer.mghformat.MGHHeader(head)
    header["goodRASFlag"] = int.from_bytes(head[_FLAG], "big")  # nibabel would say 1
    if not header["goodRASFlag"]:
        for key, value in _DEFAULT.items():
            header[key] = value
    return header


def _write(path: Path, data: NDArray[Any], like: Volume, _: LabelTable | None) -> None:
    # MGH knows no unsigned type beyond 8 bits.
    data = data.astype(np.int32) if data.dtype in (np.uint16, np.uint32) else data
    with quiet_nibabel():
        nib.save(nib.freesurfer.MGHImage(data, like.grid.affine), path)


_open = partial(open_stream, read_header=_read_header)
FORMAT = Format("MGH", (".mgz", ".mgh"), _open, _write, written=(".mgz", ".mgh"))
