"""Which image files a command line means, and which subject each belongs to."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from seg_prior.core.volume import SUFFIXES, stem
from seg_prior.errors import ConfigError, ImageError


def find_images(inputs: Sequence[Path]) -> list[Path]:
    """The image files that inputs name, each once.

    Args:
        inputs: Each is an image file; a folder, for the images directly in it; a pattern such as
            `data/*_T1w.nii.gz` (`**` for any depth); or a .txt list, one path a line, relative to
            the list's folder, blank lines and lines that begin with # left out.

    Returns:
        Paths in the order of `inputs`; those of a folder or a pattern sorted by name.

    Raises:
        ImageError: A named file does not exist or has no image suffix.
        ConfigError: An input, or all of them, yield no image; a list is not text.
    """
    if not inputs:
        raise ConfigError(
            "inputs: found none, need at least one image. Name a file, a folder, a pattern "
            "or a .txt list."
        )
    return list(dict.fromkeys(image for item in inputs for image in _expand(item)))


def subject_key(path: Path) -> str:
    """The part of a file name that a subject's image and label map share.

    In a BIDS name (`sub-...`) what ends it, the parts without a hyphen, goes:
    `sub-01_ses-1_T1w.nii.gz` -> `sub-01_ses-1`, `sub-01_T1w_dseg.nii.gz` -> `sub-01`. Of any other
    name only `_dseg` goes, because `case_07` needs its number.
    """
    name = stem(path)
    if not name.startswith("sub-"):
        return name.removesuffix("_dseg")
    parts = name.split("_")
    while "-" not in parts[-1]:
        parts.pop()
    return "_".join(parts)


def person_of(path: Path) -> str:
    """Whose file it is: `sub-01` of `sub-01_ses-1_T1w.nii.gz`; other names stand for themselves.

    Splits go by this, never by file: two phases of one heart are no two subjects.
    """
    key = subject_key(path)
    return key.split("_")[0] if key.startswith("sub-") else key


def _expand(item: Path) -> list[Path]:
    if item.is_dir():
        return _some(sorted(file for file in item.iterdir() if _is_image(file)), item)
    if item.suffix.lower() == ".txt" and item.exists():
        return _some(_read_list(item), item)
    if not item.exists() and glob.has_magic(str(item)):
        matches = (Path(match) for match in glob.glob(str(item), recursive=True))
        return _some(sorted(file for file in matches if _is_image(file)), item)
    return [_checked(item, "")]


def _read_list(path: Path) -> list[Path]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise ConfigError(
            f"{path}: not a text file in UTF-8, need a list of images, one path a line."
        ) from error
    return [
        _checked(path.parent / line.strip(), f"{path}: line {number}: ")
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]


def _checked(file: Path, where: str) -> Path:
    if not file.is_file():
        raise ImageError(f"{where}{file}: no such file. Check the path.")
    if not file.name.lower().endswith(SUFFIXES):
        raise ImageError(
            f"{where}{file}: found a name without an image suffix, need one of "
            f"{', '.join(SUFFIXES)}. Convert or rename it."
        )
    return file


def _is_image(file: Path) -> bool:
    # A leading dot is a file still being written, or what a Mac leaves beside each file.
    return file.name.lower().endswith(SUFFIXES) and not file.name.startswith(".") and file.is_file()


def _some(images: list[Path], item: Path) -> list[Path]:
    if not images:
        raise ConfigError(
            f"{item}: found no image, need files whose names end in {', '.join(SUFFIXES)}. "
            "Check the path."
        )
    return images
