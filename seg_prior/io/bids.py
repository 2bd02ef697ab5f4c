"""Where the label map of each scan goes: a file, a folder, or a BIDS derivatives folder."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from seg_prior import __version__
from seg_prior.core.volume import SUFFIXES, stem
from seg_prior.errors import ConfigError
from seg_prior.files import whole_file
from seg_prior.io.find import subject_key

BIDS_VERSION = "1.10.0"
DESCRIPTION, IGNORE, README = "dataset_description.json", ".bidsignore", "README"
IGNORED = ("*_entropy.nii.gz", "*_morph.tsv", "/volumes.tsv", "/failed*.tsv", "*.html")
"""What BIDS has no name for."""


def plan(images: Sequence[Path], out: Path, is_bids: bool) -> list[Path]:
    """The label map to write for each image.

    `sub-01_ses-1_T1w` gives `sub-01_ses-1_dseg`; of two scans that would share this name each keeps
    its own: `sub-01_ses-1_space-T1w_dseg`.

    Raises:
        ConfigError: Several images and one file, two images of one name, or a name that is not as
            BIDS wants it.
    """
    if is_file(out):
        if len(images) > 1 or is_bids:
            what = f"{len(images)} scans and one file" if len(images) > 1 else "a file and --bids"
            raise ConfigError(f"{out}: found {what}, need a folder.")
        return [out]
    count = Counter(subject_key(image) for image in images)
    names = [
        subject_key(image) if count[subject_key(image)] == 1 else _own_name(image)
        for image in images
    ]
    folders = [out / _bids_folder(image) if is_bids else out for image in images]
    targets = [f / f"{name}_dseg.nii.gz" for f, name in zip(folders, names, strict=True)]
    repeated = [target for target, number in Counter(targets).items() if number > 1]
    if repeated:
        raise ConfigError(
            f"{out}: two scans would both be written to {min(repeated).name}; rename one."
        )
    return targets


def is_file(out: Path) -> bool:
    """Whether the results go to one file; else to a folder."""
    return out.name.lower().endswith(SUFFIXES)


def check_bids_folder(out: Path) -> None:
    """Refuse a data set that this program did not write.

    Raises:
        ConfigError: There is one.
    """
    file = out / DESCRIPTION
    if not file.exists():
        return
    try:
        makers = json.loads(file.read_text(encoding="utf-8"))["GeneratedBy"]
        is_ours = any(maker["Name"] == "seg-prior" for maker in makers)
    except (OSError, ValueError, KeyError, TypeError):
        is_ours = False
    if not is_ours:
        raise ConfigError(
            f"{file}: found the data set of another program, need a folder of its own. "
            "Name another OUT, for instance derivatives/seg-prior."
        )


def describe_bids_folder(out: Path) -> None:
    """Write what makes a folder a BIDS derivatives folder."""
    content = {
        "Name": "Anatomical segmentations by seg-prior",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "seg-prior", "Version": __version__}],
    }
    with whole_file(out / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with whole_file(out / IGNORE) as temporary:
        temporary.write_text("\n".join(IGNORED) + "\n", encoding="utf-8")
    with whole_file(out / README) as temporary:
        temporary.write_text(_ABOUT, encoding="utf-8")


_ABOUT = """Anatomical segmentations made by seg-prior, each on the grid of its scan.

*_dseg.nii.gz     label map; *_dseg.tsv names its labels, *_dseg.json tells how it was made
*_probseg.nii.gz  posterior probability; LabelMap in its JSON names the volumes of the fourth axis
*_morph.tsv       volume of every label in cubic millimetres; volumes.tsv holds those of all scans

Not for clinical use.
"""


def _own_name(image: Path) -> str:
    """`sub-01_T2w` -> `sub-01_space-T2w`: a name that tells scans of one subject apart."""
    key = subject_key(image)
    suffix = stem(image).removeprefix(key).strip("_").replace("_", "")
    return f"{key}_space-{suffix}" if suffix else key


def _bids_folder(image: Path) -> Path:
    found = re.fullmatch(r"(sub-[A-Za-z0-9]+)(?:_(ses-[A-Za-z0-9]+))?(?:_.+)?", stem(image))
    if not found:
        raise ConfigError(
            f"{image}: found a name that BIDS does not know, need sub-LABEL[_ses-LABEL]_... "
            "Rename it, or leave --bids out."
        )
    return Path(found[1], found[2] or "", "anat")
