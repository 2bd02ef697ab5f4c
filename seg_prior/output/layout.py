"""Which files belong to one scan, and what they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from seg_prior.config.output import OutputOptions
from seg_prior.io.formats import strip_suffix
from seg_prior.io.sidecar import read_json

VOLUME_COLUMNS = (
    "index",
    "name",
    "volume_mm3",
    "posterior_volume_mm3",
    "low_mm3",
    "high_mm3",
    "touches_edge",
    "z",
    "quality",
)
"""z: deviations of log volume from synthetic scans; quality: the scan's verdict, in every row."""


def files_of(target: Path, options: OutputOptions) -> dict[str, Path]:
    """What is written for one scan, in this order; a scan with its label map is finished.

    Args:
        target: The label map.
        options: What else.
    """
    base = strip_suffix(target).removesuffix("_dseg")
    volumes = f"{base}_desc-volumes_morph.tsv" if options.bids else f"{base}_volumes.tsv"
    names = {
        "entropy": f"{base}_entropy.nii.gz" if options.entropy else "",
        "probseg": f"{base}_probseg.nii.gz" if options.with_posteriors else "",
        "probseg_sidecar": f"{base}_probseg.json" if options.with_posteriors else "",
        "volumes": volumes if options.with_volumes else "",
        "label_table": f"{strip_suffix(target)}.tsv" if options.bids else "",
        "report": f"{base}_report.html" if options.report else "",
        "sidecar": sidecar_of(target).name,
        "label_map": target.name,
    }
    return {kind: target.with_name(name) for kind, name in names.items() if name}


class Job(NamedTuple):
    """A scan, the label map to write for it, and further contrasts of the scan."""

    image: Path
    target: Path
    contrasts: tuple[Path, ...] = ()


def sidecar_of(target: Path) -> Path:
    """What tells of a label map how it was made."""
    return target.with_name(f"{strip_suffix(target)}.json")


def read_sidecar(target: Path) -> dict[str, Any]:
    """The sidecar of a label map; empty where it has none."""
    return read_json(sidecar_of(target))


def failure_of(target: Path) -> Path:
    """What tells why a scan has no label map."""
    return target.with_name(f"{strip_suffix(target).removesuffix('_dseg')}_failed.json")
