"""Which files belong to one scan, and what they are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from seg_prior.config.commands import SegmentConfig
from seg_prior.core.volume import stem

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
"""z: deviations of log volume from painted scans; quality: the verdict, the scan's in every row."""


class Extras(NamedTuple):
    """Files to write beside the label map and its sidecar; `bids` wants them named and more."""

    volumes: bool = False
    posteriors: bool = False
    entropy: bool = False
    report: bool = False
    bids: bool = False

    @classmethod
    def of(cls, config: SegmentConfig) -> Extras:
        """What a request wants.

        A BIDS derivatives folder has volumes and posteriors; a report comes with volumes, which
        the page of several scans is made of.
        """
        return cls(
            config.volumes or config.report or config.bids,
            config.posteriors or config.bids,
            config.entropy,
            config.report,
            config.bids,
        )


def files_of(target: Path, extras: Extras) -> dict[str, Path]:
    """What is written for one scan, in this order; a scan with its label map is finished.

    Args:
        target: The label map.
        extras: What else.
    """
    base = stem(target).removesuffix("_dseg")
    volumes = f"{base}_desc-volumes_morph.tsv" if extras.bids else f"{base}_volumes.tsv"
    names = {
        "entropy": f"{base}_entropy.nii.gz" if extras.entropy else "",
        "probseg": f"{base}_probseg.nii.gz" if extras.posteriors else "",
        "probseg_sidecar": f"{base}_probseg.json" if extras.posteriors else "",
        "volumes": volumes if extras.volumes else "",
        "label_table": f"{stem(target)}.tsv" if extras.bids else "",
        "report": f"{base}_report.html" if extras.report else "",
        "sidecar": f"{stem(target)}.json",
        "label_map": target.name,
    }
    return {kind: target.with_name(name) for kind, name in names.items() if name}


class Job(NamedTuple):
    """A scan, the label map to write for it, and further contrasts of the scan."""

    image: Path
    target: Path
    contrasts: tuple[Path, ...] = ()


def read_sidecar(target: Path) -> dict[str, Any]:
    """The sidecar of a label map; empty where it has none of ours."""
    try:
        found = json.loads(target.with_name(f"{stem(target)}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
