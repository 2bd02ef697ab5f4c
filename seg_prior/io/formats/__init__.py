"""Every format of images in a file of its own.

To add one, write the file. It holds `FORMAT`, a `seg_prior.io.stored.Format`: the suffixes, how
such a file is opened, how it is written if it is. What is opened is an array, its affine to RAS+
and no more; whether it can be segmented is asked in one place, `seg_prior.io.read`.
"""

from __future__ import annotations

import hashlib
import os
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules

from seg_prior.errors import ConfigError, ImageError
from seg_prior.files import sha256_of
from seg_prior.io.stored import Format, missing_extra

FORMATS: tuple[Format, ...] = tuple(
    import_module(f"{__name__}.{module.name}").FORMAT for module in iter_modules(__path__)
)
_FORMAT_OF = {suffix: form for form in FORMATS for suffix in (*form.suffixes, *form.written)}
_SUFFIX = re.compile(f"(?:{'|'.join(map(re.escape, _FORMAT_OF))})\\Z")
SUFFIXES = tuple(sorted(suffix for form in FORMATS for suffix in form.suffixes))
"""Of files that are an image."""
LABEL_MAPS = tuple(suffix for form in FORMATS for suffix in form.label_maps)
"""Of files that are a label map and no scan."""
WRITTEN = tuple(sorted(suffix for form in FORMATS for suffix in form.written))
"""Of files that are written."""


def suffix_of(path: Path | str) -> str:
    """The longest suffix of a format that a name ends in; empty where it has none."""
    found = _SUFFIX.search(os.fspath(path).lower())
    return found[0] if found else ""


def strip_suffix(path: Path | str) -> str:
    """The file's name without its image suffix; of a folder, its name.

    >>> strip_suffix(Path("scans/sub-01_T1w.nii.gz"))
    'sub-01_T1w'
    """
    suffix = suffix_of(path)
    if suffix:
        return os.path.basename(path)[: -len(suffix)]
    return Path(path).name if os.path.isdir(path) else Path(path).stem


def is_image_folder(path: Path) -> bool:
    """Whether a folder is one image, as that of a DICOM series."""
    return any(form.holds is not None and form.holds(path) for form in FORMATS)


def format_of(path: Path) -> Format:
    """The format of an image file or folder.

    Raises:
        ImageError: No format has its suffix, or holds such a folder.
    """
    if path.is_dir():
        for form in FORMATS:
            if form.holds is not None and form.holds(path):
                return form
        raise ImageError(
            f"{path}: found a folder without a DICOM series, need an image file, or a folder with "
            "the files of one series. Name it."
        )
    found = _FORMAT_OF.get(suffix_of(path))
    if found is None:
        raise ImageError(
            f"{path}: found a name without an image suffix, need one of {', '.join(SUFFIXES)}. "
            "Convert or rename it."
        )
    return found


def check_target(target: Path, image: Path) -> None:
    """Refuse, before the work, a label map that could not be written after it.

    Args:
        target: Its name ends in one of `WRITTEN`.
        image: The scan that it is of.

    Raises:
        ConfigError: The format is written only for scans of its own, and this one is not.
        ExtraError: The package that writes it is not installed.
    """
    form = format_of(target)
    if form.goes_home and image.exists() and format_of(image) is not form:
        raise ConfigError(
            f"{target}: found {image}, which is no {form.name}, need one to refer to. "
            "Name another OUT, for instance one that ends in .nii.gz."
        )
    if form.needed is not None and find_spec(form.needed[0]) is None:
        raise missing_extra(str(target), *form.needed)


def content_sha256(path: Path) -> str:
    """Of the bytes of a file; of an image, of all files that hold it and are there."""
    is_image = suffix_of(path) or path.is_dir()
    parts = format_of(path).parts(path) if is_image else [path]
    sums = [sha256_of(part) for part in parts if part.is_file()]
    return sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()
