"""An image file, opened by the reader of its format."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from seg_prior.errors import ImageError, SegPriorError
from seg_prior.io.formats import format_of
from seg_prior.io.stored import Stored, first_line


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
