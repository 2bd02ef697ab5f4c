"""Which files belong to one scan, and what they are called."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from seg_prior.config.output import OutputOptions
from seg_prior.io.formats import strip_suffix
from seg_prior.io.sidecar import read_json

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


def files_of(target: Path, options: OutputOptions) -> dict[str, Path]:
    """What is written for one scan, in this order; a scan with its label map is finished.

    Args:
        target: The label map.
        options: What else.
    """
    base = strip_suffix(target).removesuffix("_dseg")
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
        "label_table": f"{strip_suffix(target)}.tsv" if options.bids else "",
        "report": f"{base}_report.html" if options.report else "",
        "sidecar": sidecar_of(target).name,
        "label_map": target.name,
    }
    return {kind: target.with_name(name) for kind, name in names.items() if name}


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


class Job(NamedTuple):
    """A scan, the label map to write for it, further contrasts, and a mask of missing data."""

    image: Path
    target: Path
    contrasts: tuple[Path, ...] = ()
    ignore: Path | None = None

    @property
    def inputs(self) -> tuple[Path, ...]:
        """All files that are read for it."""
        return (self.image, *self.contrasts, *(() if self.ignore is None else (self.ignore,)))


def sidecar_of(target: Path) -> Path:
    """What tells of a label map how it was made."""
    return target.with_name(f"{strip_suffix(target)}.json")


def read_sidecar(target: Path) -> dict[str, Any]:
    """The sidecar of a label map; empty where it has none."""
    return read_json(sidecar_of(target))


def failure_of(target: Path) -> Path:
    """What tells why a scan has no label map."""
    return target.with_name(f"{strip_suffix(target).removesuffix('_dseg')}_failed.json")
