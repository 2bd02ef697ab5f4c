"""Which image files a command line means, and which subject each belongs to."""

from __future__ import annotations

import codecs
import contextlib
import glob
import os
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path

from seg_prior.errors import ConfigError, ImageError
from seg_prior.files import split
from seg_prior.io.formats import (
    LABEL_MAPS,
    SUFFIXES,
    format_of,
    is_image_folder,
    strip_suffix,
)
from seg_prior.io.sidecar import read_ours

_HERE = os.path.join(os.curdir, "")
"""What the paths in a folder `.` begin with, and no `Path` does."""


class Sought(Enum):
    """What a folder or a pattern is searched for, and the endings of what else lies there.

    Who names a file or a line of a list knows what it is.
    """

    SCAN = ("scan", ("dseg", "probseg", "entropy", "departure", "mask"))
    LABEL_MAP = ("label map", ("probseg", "entropy", "departure"))

    def __init__(self, noun: str, others: tuple[str, ...]) -> None:
        self.noun = noun
        self.others = others


def find_images(inputs: Sequence[Path]) -> list[Path]:
    """The scans that inputs name, each once.

    A result of `segment` is no scan, so a folder may hold both: neither what a sidecar of ours
    names nor a file called `_dseg`, `_probseg`, `_entropy`, `_departure` or `_mask`, nor a label
    map of 3D Slicer (`.seg.nrrd`), is found in a folder or by a pattern.

    Args:
        inputs: Each is an image file; a folder, for the images in it at any depth, and the folder
            of a DICOM series is one; a pattern such as `data/*_T1w.nii.gz` (`**` for any depth); or
            a .txt list, one path a line, relative to the list's folder, blank lines and lines that
            begin with # left out.

    Returns:
        Paths in the order of `inputs`; those of a folder or a pattern sorted by name. A line of a
        list and a link in a folder may lead nowhere: who reads it says so, and of many scans that
        is one that failed.

    Raises:
        ImageError: A named file does not exist or has no image suffix.
        ConfigError: An input, or all of them, yield no image that is there; a list is not text.
    """
    return [Path(image) for image in find_names(inputs)]


def find_names(inputs: Sequence[Path]) -> list[str]:
    """`find_images` as text, which takes less of a hundred thousand."""
    return _find(inputs, Sought.SCAN)


def find_label_maps(inputs: Sequence[Path]) -> list[Path]:
    """The label maps that inputs name, each once: as `find_images`, but for what is left out.

    In a folder and by a pattern, `_probseg`, `_entropy` and `_departure` alone are no label maps.
    """
    return [Path(label_map) for label_map in _find(inputs, Sought.LABEL_MAP)]


def scan_key(path: Path) -> str:
    """The part of a file name that a subject's image and label map share.

    In a BIDS name (`sub-...`) what ends it, the parts without a hyphen, goes:
    `sub-01_ses-1_T1w.nii.gz` -> `sub-01_ses-1`, `sub-01_T1w_dseg.nii.gz` -> `sub-01`. Of any other
    name only `_dseg` goes, because `case_07` needs its number.
    """
    return key_of(strip_suffix(path))


def key_of(name: str) -> str:
    """The same of a name without its suffix."""
    if not name.startswith("sub-"):
        return name.removesuffix("_dseg")
    parts = name.split("_")
    while "-" not in parts[-1]:
        parts.pop()
    return "_".join(parts)


def participant_of(path: Path) -> str:
    """Whose file it is: `sub-01` of `sub-01_ses-1_T1w.nii.gz`; other names stand for themselves.

    Splits go by this, never by file: two phases of one heart are no two subjects.
    """
    key = scan_key(path)
    return key.split("_")[0] if key.startswith("sub-") else key


def _find(inputs: Sequence[Path], sought: Sought) -> list[str]:
    if not inputs:
        raise ConfigError(
            f"inputs: found none, need at least one {sought.noun}. Name a file, a folder, a "
            "pattern or a .txt list."
        )
    return list(dict.fromkeys(image for item in inputs for image in _expand(item, sought)))


def _expand(item: Path, sought: Sought) -> list[str]:
    if item.is_dir():
        found = list(_images_below(str(item), set()))
    elif item.suffix.lower() == ".txt" and item.exists():
        return _some(_read_list(item), item, sought)
    elif not item.exists() and glob.has_magic(str(item)):
        matches = (str(Path(match)) for match in glob.iglob(str(item), recursive=True))
        found = [file for file in matches if _is_image(file)]
    else:
        return [str(_checked(item))]
    found.sort(key=_by_parts)
    chosen = [image for image in found if not _is_other(image, sought)]
    return _some(chosen, item, sought, num_others=len(found) - len(chosen))


def _images_below(folder: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Images at any depth, the folder among them; hidden folders left out, links followed once."""
    below = []
    # An entry knows what it is, so that no file is asked; only what a link leads to is.
    with contextlib.suppress(PermissionError, FileNotFoundError), os.scandir(folder) as entries:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        if is_image_folder(Path(folder)):
            yield folder
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path, is_link = entry.path.removeprefix(_HERE), entry.is_symlink()
            if os.path.isdir(path) if is_link else entry.is_dir():
                below.append(path)
            elif entry.name.lower().endswith(SUFFIXES) and (
                _is_image(path) if is_link else entry.is_file()
            ):
                yield path
    for inner in sorted(below):
        yield from _images_below(inner, seen)


def _by_parts(path: str) -> str:
    """What paths are ordered by: folder by folder."""
    return path.replace(os.sep, "\0")


def _read_list(path: Path) -> list[str]:
    raw = path.read_bytes()
    # What Windows writes begins with a mark of the byte order.
    is_utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        lines = raw.decode("utf-16" if is_utf16 else "utf-8-sig").splitlines()
    except ValueError as error:
        raise ConfigError(
            f"{path}: not a text file in UTF-8, need a list of images, one path a line."
        ) from error
    return [
        str(path.parent / line.strip())
        for line in lines
        if line.strip() and not line.lstrip().startswith("#")
    ]


def _checked(file: Path) -> Path:
    if not file.is_file():
        raise ImageError(f"{file}: no such file. Check the path.")
    format_of(file)
    return file


def _is_image(file: str) -> bool:
    # A leading dot is a file still being written, or what a Mac leaves beside each file.
    name = os.path.basename(file)
    if name.startswith("."):
        return False
    if os.path.isdir(file):
        return is_image_folder(Path(file))
    is_named = name.lower().endswith(SUFFIXES)
    return is_named and (os.path.isfile(file) or _is_dead_link(file))


def _is_dead_link(file: str) -> bool:
    return os.path.islink(file) and not os.path.exists(file)


def _is_other(image: str, sought: Sought) -> bool:
    """Whether an image in a folder is none of those that are sought there."""
    folder, name = split(image)
    base = strip_suffix(image)
    if base.rpartition("_")[2] in sought.others:
        return True
    if sought is not Sought.SCAN:
        return False
    if name.lower().endswith(LABEL_MAPS):
        return True
    return name in read_ours(f"{folder}{base}.json", ("files",)).get("files", ())


def _some(images: list[str], item: Path, sought: Sought, num_others: int = 0) -> list[str]:
    """The images, of which one at least must be there."""
    if any(map(os.path.exists, images)):
        return images
    found = f"{len(images)} names that lead nowhere, {images[0]} the first" if images else "none"
    if num_others:
        others = ", ".join(f"_{suffix}" for suffix in sought.others)
        found += f", and {num_others} files that are results or end in {others}"
    raise ConfigError(
        f"{item}: looked for {sought.noun}s, folders of a DICOM series and files whose names end "
        f"in {', '.join(SUFFIXES)}; found {found}. Check the path."
    )
