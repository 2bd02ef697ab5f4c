"""Where the results of each scan go, and what its files are called."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from seg_prior.config.output import OutputOptions, ScanConfig
from seg_prior.errors import ConfigError
from seg_prior.files import absolute, split
from seg_prior.io.find import key_of
from seg_prior.io.formats import WRITTEN, check_target, strip_suffix, suffix_of

LATE_ENTITIES = ("space", "split", "recording", "chunk", "seg", "res", "den", "label", "desc")
"""Those that stand behind `space` in a BIDS name, and itself."""
PRIOR = "prior"
"""What prior space is called in names of files."""
VOLUME_COLUMNS = (
    "index",
    "name",
    "volume_mm3",
    "posterior_volume_mm3",
    "low_mm3",
    "high_mm3",
    "calibrated_mm3",
    "touches_edge",
    "z",
    "quality",
)
"""calibrated_mm3: without the bias on synthetic scans; z: deviations of log volume from those;
quality: the scan's verdict, in every row."""


class Job(NamedTuple):
    """A scan and what is made of it.

    Attributes:
        scan: Where it lies; text, as a request may hold a hundred thousand of them.
        label_map: Where that goes.
        config: How it is read, and what is written.
        contrasts: Its further images.
        ignore: A mask of missing data.
    """

    scan: str
    label_map: str
    config: ScanConfig
    contrasts: tuple[Path, ...] = ()
    ignore: Path | None = None

    @property
    def image(self) -> Path:
        """The scan."""
        return Path(self.scan)

    @property
    def files(self) -> dict[str, Path]:
        """What to write."""
        return files_of(self.target, self.config)

    @property
    def paths(self) -> list[str]:
        """The same as text."""
        folder, name = split(self.label_map)
        return [f"{folder}{one}" for one in _names_of(name, self.config).values()]

    @property
    def inputs(self) -> tuple[Path, ...]:
        """All files that are read for it."""
        return (self.image, *self.contrasts, *(() if self.ignore is None else (self.ignore,)))

    @property
    def target(self) -> Path:
        """The label map."""
        return Path(self.label_map)

    @property
    def sidecar(self) -> str:
        """What tells how the label map was made."""
        return f"{self._stem}.json"

    @property
    def failure(self) -> str:
        """What tells why there is no label map."""
        return f"{self._stem.removesuffix('_dseg')}_failed.json"

    @property
    def _stem(self) -> str:
        return self.label_map[: -len(suffix_of(self.label_map))]


def plan_outputs(images: Sequence[str], out: Path, is_bids: bool) -> list[str]:
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
    suffix = suffix_of(out)
    if suffix in WRITTEN:
        if len(images) > 1 or is_bids:
            what = f"{len(images)} scans and one file" if len(images) > 1 else "a file and --bids"
            raise ConfigError(f"{out}: found {what}, need a folder.")
        check_target(out, Path(images[0]))
        return [str(out)]
    _check_folder_name(out, suffix)
    stems = [strip_suffix(image) for image in images]
    names = [_name_of_result(stem) for stem in stems]
    if is_bids:
        folders = [str(out / _bids_folder(*one)) for one in zip(images, stems, strict=True)]
    else:
        folders = [str(out)] * len(images)
        names = _told_apart(images, names)
    targets = [_in(f, f"{name}_dseg.nii.gz") for f, name in zip(folders, names, strict=True)]
    first_of: dict[str, str] = {}
    for image, target in zip(images, targets, strict=True):
        if target in first_of:
            raise ConfigError(
                f"{out}: {first_of[target]} and {image} would both be written to "
                f"{os.path.basename(target)}; rename one."
            )
        first_of[target] = image
    return targets


def is_file(out: Path) -> bool:
    """Whether the results go to one file; else to a folder."""
    return suffix_of(out) in WRITTEN


def files_of(target: Path, options: OutputOptions) -> dict[str, Path]:
    """What is written for one scan, in this order; a scan with its label map is finished.

    Args:
        target: The label map.
        options: What else.
    """
    return {kind: target.with_name(name) for kind, name in _names_of(target.name, options).items()}


def _names_of(label_map: str, options: OutputOptions) -> dict[str, str]:
    stem = strip_suffix(label_map)
    base = stem.removesuffix("_dseg")
    volumes = f"{base}_desc-volumes_morph.tsv" if options.bids else f"{base}_volumes.tsv"
    intensities = f"{base}_intensities.tsv"
    if options.bids:
        intensities = f"{base}_desc-intensities_morph.tsv"
    names = {
        **(_transform_names(base) if options.transform else {}),
        **(_moved_names(base) if options.in_prior_space else {}),
        "entropy": f"{base}_entropy.nii.gz" if options.entropy else "",
        **(_departure_names(base) if options.departure else {}),
        "probseg": f"{base}_probseg.nii.gz" if options.with_posteriors else "",
        "probseg_sidecar": f"{base}_probseg.json" if options.with_posteriors else "",
        "volumes": volumes if options.with_volumes else "",
        "intensities": intensities if options.intensities else "",
        "label_table": f"{stem}.tsv" if options.bids else "",
        "report": f"{base}_report.html" if options.report else "",
        "sidecar": f"{stem}.json",
        "label_map": label_map,
    }
    return {kind: name for kind, name in names.items() if name}


def _in(folder: str, name: str) -> str:
    return name if folder == os.curdir else os.path.join(folder, name)


def _departure_names(base: str) -> dict[str, str]:
    """The map, and the JSON that says what its numbers mean."""
    name = f"{base}_departure"
    return {"departure": f"{name}.nii.gz", "departure_sidecar": f"{name}.json"}


def _transform_names(base: str) -> dict[str, str]:
    """`sub-01_space-T1w` -> `sub-01_from-T1w_to-prior_xfm`; else `X_from-native_to-prior_xfm`."""
    person, scan, rest = _parts_of(base)
    name = f"{person}_from-{scan or 'native'}_to-{PRIOR}{rest}_xfm"
    return {"transform": f"{name}.tfm", "lta": f"{name}.lta", "transform_sidecar": f"{name}.json"}


def _moved_names(base: str) -> dict[str, str]:
    """`sub-01_space-T1w` -> `sub-01_space-prior_T1w`; else `X_space-prior_scan`."""
    person, scan, rest = _parts_of(base)
    suffix = scan if scan and not rest else "scan"
    name = f"{person}_space-{PRIOR}{rest}_{suffix}"
    return {"moved": f"{name}.nii.gz", "moved_sidecar": f"{name}.json"}


def _parts_of(base: str) -> tuple[str, str, str]:
    """What stands before and behind the entity `space`, and which scan it names."""
    found = re.fullmatch(r"(.+?)_space-([A-Za-z0-9]+)(_.+)?", base)
    return (found[1], found[2], found[3] or "") if found else (base, "", "")


def _check_folder_name(out: Path, suffix: str) -> None:
    """`scan.mha` is no folder; one that is there may be called anything."""
    if re.fullmatch(r"\.[A-Za-z][A-Za-z0-9]*", out.suffix) and not out.is_dir():
        raise ConfigError(
            f"{out}: found a name that ends in '{suffix or out.suffix}', need one of "
            f"{', '.join(WRITTEN)}, or a folder. Rename it; if a folder is meant, make it first."
        )


def _name_of_result(stem: str) -> str:
    """`sub-01_T2w` -> `sub-01_space-T2w`; other names stay."""
    key = key_of(stem)
    suffix = re.sub(r"[^A-Za-z0-9]", "", stem.removeprefix(key))
    if not suffix or not key.startswith("sub-"):
        return key
    *others, last = key.split("_")
    if last.startswith("desc-"):  # the last entity of any name
        return "_".join((*others, last + suffix))
    is_late = any(part.partition("-")[0] in LATE_ENTITIES for part in (*others, last))
    return f"{key}_{'desc' if is_late else 'space'}-{suffix}"


def _told_apart(images: Sequence[str], names: Sequence[str]) -> list[str]:
    """Names that several images share, each behind what of its folder only some of them have."""
    told = list(names)
    num = Counter(names)
    places: dict[str, list[int]] = {}
    for n, name in enumerate(names):
        if num[name] > 1:
            places.setdefault(name, []).append(n)
    for name, same in places.items():
        parts = _differing([Path(images[n]) for n in same])
        for n, part in zip(same, parts, strict=True):
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


def _bids_folder(image: str, stem: str) -> Path:
    found = re.fullmatch(r"(sub-[A-Za-z0-9]+)(?:_(ses-[A-Za-z0-9]+))?(?:_.+)?", stem)
    if not found:
        raise ConfigError(
            f"{image}: found a name that BIDS does not know, need sub-LABEL[_ses-LABEL]_... "
            "Rename it, or leave --bids out."
        )
    return Path(found[1], found[2] or "", "anat")
