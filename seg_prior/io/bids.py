"""Where the label map of each scan goes: a file, a folder, or a BIDS derivatives folder."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from seg_prior.errors import ConfigError
from seg_prior.files import absolute, write_json, write_text
from seg_prior.io.find import scan_key
from seg_prior.io.formats import WRITTEN, check_target, strip_suffix, suffix_of
from seg_prior.io.sidecar import GENERATED_BY, is_ours, read_json

BIDS_VERSION = "1.10.0"
DESCRIPTION, IGNORE, README = "dataset_description.json", ".bidsignore", "README"
LATE_ENTITIES = ("space", "split", "recording", "chunk", "seg", "res", "den", "label", "desc")
"""Those that stand behind `space` in a BIDS name, and itself."""


def plan_outputs(images: Sequence[Path], out: Path, is_bids: bool) -> list[Path]:
    """The label map to write for each image.

    The suffix of a BIDS name becomes an entity, `sub-01_T1w` -> `sub-01_space-T1w_dseg`, so that
    another contrast of the subject has its own place whenever it comes. Of files of one name in
    several folders, `anna/mri/T1` and `bert/mri/T1`, each is named after the part of its path that
    differs: `anna_T1_dseg`.

    Raises:
        ConfigError: Several images and one file, two images of one name, a name that is not as
            BIDS wants it, or `out` looks like a file of a format that is not written, or not of
            such a scan.
        ExtraError: The package that writes `out` is not installed.
    """
    if is_file(out):
        if len(images) > 1 or is_bids:
            what = f"{len(images)} scans and one file" if len(images) > 1 else "a file and --bids"
            raise ConfigError(f"{out}: found {what}, need a folder.")
        check_target(out, images[0])
        return [out]
    _check_folder_name(out)
    names = [_name_of_result(image) for image in images]
    if is_bids:
        folders = [out / _bids_folder(image) for image in images]
    else:
        folders = [out] * len(images)
        names = _told_apart(images, names)
    targets = [f / f"{name}_dseg.nii.gz" for f, name in zip(folders, names, strict=True)]
    first_of: dict[Path, Path] = {}
    for image, target in zip(images, targets, strict=True):
        if target in first_of:
            raise ConfigError(
                f"{out}: {first_of[target]} and {image} would both be written to {target.name}; "
                "rename one."
            )
        first_of[target] = image
    return targets


def is_file(out: Path) -> bool:
    """Whether the results go to one file; else to a folder."""
    return suffix_of(out) in WRITTEN


def check_bids_folder(out: Path) -> None:
    """Refuse a data set that this program did not write, and files that would be replaced.

    Raises:
        ConfigError: There is one.
    """
    file = out / DESCRIPTION
    if file.exists() and not is_ours(read_json(file)):
        raise ConfigError(
            f"{file}: found the data set of another program, need a folder of its own. "
            "Name another OUT, for instance derivatives/seg-prior."
        )
    for name, content in ((IGNORE, _IGNORED), (README, _ABOUT)):
        file = out / name
        if file.exists() and file.read_bytes() != content.encode():
            raise ConfigError(
                f"{file}: found a file that segment did not write, or that was changed since, need "
                "a folder without one. Name another OUT, or rename it."
            )


def describe_bids_folder(out: Path, images: Sequence[Path]) -> None:
    """Write what makes a folder a BIDS derivatives folder; of earlier scans as well as of these.

    Args:
        out: The folder.
        images: Scans; the data sets that they lie in are linked.
    """
    before = read_json(out / DESCRIPTION).get("DatasetLinks", {})
    roots = dict.fromkeys(filter(None, map(root_of, images)))
    links = before | {link_of(root): root.as_uri() for root in roots}
    content: dict[str, Any] = {
        "Name": "Anatomical segmentations by seg-prior",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
    }
    if links:
        content["DatasetLinks"] = links
        content["SourceDatasets"] = [{"URL": uri} | _doi_of(uri) for uri in links.values()]
    write_json(out / DESCRIPTION, content | GENERATED_BY)
    write_text(out / IGNORE, _IGNORED)
    write_text(out / README, _ABOUT)


def root_of(image: Path) -> Path | None:
    """The BIDS data set that a file lies in; None if in none."""
    parents = absolute(image).parents
    return next((folder for folder in parents if (folder / DESCRIPTION).is_file()), None)


def link_of(root: Path) -> str:
    """What a data set is called in BIDS URIs: its folder, and a mark of where that lies."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", root.name).strip("-") or "raw"
    return f"{name}-{hashlib.sha256(str(root).encode()).hexdigest()[:6]}"


def sources_of(images: Sequence[Path]) -> list[str]:
    """BIDS URIs of those files that lie in a BIDS data set."""
    placed = [(absolute(image), root_of(image)) for image in images]
    return [
        f"bids:{link_of(root)}:{image.relative_to(root).as_posix()}"
        for image, root in placed
        if root is not None
    ]


def _doi_of(uri: str) -> dict[str, str]:
    """The DOI that a linked data set has, as `SourceDatasets` names it."""
    description = Path(unquote(urlparse(uri).path)) / DESCRIPTION
    doi = read_json(description).get("DatasetDOI")
    return {"DOI": doi} if isinstance(doi, str) else {}


_IGNORED = """# What seg-prior writes and BIDS has no name for.
*_entropy.nii.gz
*_departure.*
*_morph.tsv
*_failed.json
*_xfm.*
*_scan.*
/volumes.tsv
/volumes_wide.tsv
/failed.tsv
*.html
"""

_ABOUT = """Anatomical segmentations made by seg-prior, each on the grid of its scan.

*_dseg.nii.gz     label map; *_dseg.tsv names its labels, *_dseg.json tells how it was made
*_probseg.nii.gz  posterior probability; LabelMap in its JSON names the volumes of the fourth axis
*_xfm.*           affine from the scan to prior space; its JSON tells the direction
*_space-prior_*   the scan on the grid of prior space
*_morph.tsv       volume of every label in cubic millimetres; volumes.tsv holds those of all scans

Not for clinical use.
"""


def _check_folder_name(out: Path) -> None:
    """`scan.mha` is no folder; one that is there may be called anything."""
    if re.fullmatch(r"\.[A-Za-z][A-Za-z0-9]*", out.suffix) and not out.is_dir():
        raise ConfigError(
            f"{out}: found a name that ends in '{suffix_of(out) or out.suffix}', need one of "
            f"{', '.join(WRITTEN)}, or a folder. Rename it; if a folder is meant, make it first."
        )


def _name_of_result(image: Path) -> str:
    """`sub-01_T2w` -> `sub-01_space-T2w`; other names stay."""
    key = scan_key(image)
    suffix = re.sub(r"[^A-Za-z0-9]", "", strip_suffix(image).removeprefix(key))
    if not suffix or not key.startswith("sub-"):
        return key
    *others, last = key.split("_")
    if last.startswith("desc-"):  # the last entity of any name
        return "_".join((*others, last + suffix))
    is_late = any(part.partition("-")[0] in LATE_ENTITIES for part in (*others, last))
    return f"{key}_{'desc' if is_late else 'space'}-{suffix}"


def _told_apart(images: Sequence[Path], names: Sequence[str]) -> list[str]:
    """Names that several images share, each behind what of its folder only some of them have."""
    count = Counter(names)
    told = list(names)
    for name in (name for name, number in count.items() if number > 1):
        same = [n for n, other in enumerate(names) if other == name]
        for n, part in zip(same, _differing([images[n] for n in same]), strict=True):
            told[n] = f"{part}_{name}" if part else name
    return told


def _differing(images: Sequence[Path]) -> list[str]:
    """Of the folders of files, what lies between the parts that all have in common."""
    parts = [absolute(image).parent.parts for image in images]
    begin = _num_shared(parts)
    rest = [part[begin:] for part in parts]
    end = _num_shared([part[::-1] for part in rest])
    return ["_".join(part[: len(part) - end]) for part in rest]


def _num_shared(parts: Sequence[tuple[str, ...]]) -> int:
    """How many folders all paths begin with."""
    columns = zip(*parts, strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def _bids_folder(image: Path) -> Path:
    found = re.fullmatch(r"(sub-[A-Za-z0-9]+)(?:_(ses-[A-Za-z0-9]+))?(?:_.+)?", strip_suffix(image))
    if not found:
        raise ConfigError(
            f"{image}: found a name that BIDS does not know, need sub-LABEL[_ses-LABEL]_... "
            "Rename it, or leave --bids out."
        )
    return Path(found[1], found[2] or "", "anat")
