"""What makes a folder of results a BIDS derivatives data set, and where its scans come from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from seg_prior.errors import ConfigError
from seg_prior.files import absolute, write_json, write_text
from seg_prior.io.sidecar import GENERATED_BY, read_json, read_ours

BIDS_VERSION = "1.10.0"
DESCRIPTION, IGNORE, README = "dataset_description.json", ".bidsignore", "README"


def check_bids_folder(out: Path) -> None:
    """Refuse a data set that this program did not write, and files that would be replaced.

    Raises:
        ConfigError: There is one.
    """
    file = out / DESCRIPTION
    if file.exists() and not read_ours(file):
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


def describe_bids_folder(out: Path, images: Iterable[Path]) -> None:
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
