"""`bids`: a BIDS data set in, a BIDS derivatives folder out, called as BIDS Apps are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator

from seg_prior.commands import segment
from seg_prior.config.inference import ReadingConfig
from seg_prior.errors import ConfigError, few
from seg_prior.files import Files

if TYPE_CHECKING:
    from seg_prior.commands.segment import Outcome

SUMMARY = "Segment a BIDS data set, called as BIDS Apps are."
EXAMPLE = "seg-prior bids bids/ derivatives/ participant --participant-label 01 02"
OPERANDS = "dataset out level"


class Config(ReadingConfig):
    """`bids`: a BIDS data set in, a BIDS derivatives folder out."""

    dataset: Path
    """A BIDS data set, with a folder sub-LABEL for each participant."""
    out: Path
    """Folder of the derivatives, with volumes, posteriors and label tables."""
    level: Annotated[Literal["participant"], BeforeValidator(str)]
    """participant; its tables are of the whole folder, so there is no group level."""
    participant_label: list[str] = []
    """Segment these participants, with or without sub-; all if none is named."""
    session_label: list[str] = []
    """Segment these sessions, with or without ses-; all if none is named."""
    suffix: str = "T1w"
    """Segment images of this suffix."""
    report: bool = False
    """Write a page for each scan, and report.html of all."""
    overwrite: bool = False
    """Segment again what is finished, of the same scan, model and settings."""


def files(config: Config) -> Files:
    """What `run` reads and writes."""
    return segment.files(_request(config))


def run(config: Config) -> Outcome:
    """Segment the scans of a data set; one that fails does not stop the others.

    Raises:
        SegPriorError: The folder is no BIDS data set, or has no such participant, session or scan.
    """
    return segment.run(_request(config))


def _request(config: Config) -> segment.Config:
    """The same as `segment` has it."""
    more = {"report": config.report, "overwrite": config.overwrite, "bids": True}
    return segment.Config(images=_scans(config), out=config.out, **dict(config.reading), **more)


def _scans(config: Config) -> list[Path]:
    """The scans that are asked for, by name."""
    if not config.dataset.exists():
        raise ConfigError(
            f"{config.dataset}: no such file or folder, need a BIDS data set. Check the path."
        )
    if not (config.dataset / "dataset_description.json").is_file():
        raise ConfigError(
            f"{config.dataset}: found no dataset_description.json, need a BIDS data set. "
            "Name its root, or use seg-prior segment --bids for loose files."
        )
    there = sorted(folder for folder in config.dataset.glob("sub-*") if folder.is_dir())
    participants = _chosen(there, config.participant_label, "sub", config.dataset)
    found = []
    for folder in participants:
        sessions = sorted(path for path in folder.glob("ses-*") if path.is_dir())
        if config.session_label:
            wanted = _names(config.session_label, "ses")
            places = [path for path in sessions if path.name in wanted]
        else:
            places = [folder, *sessions]
        for place in places:
            found += sorted(place.glob(f"anat/*_{config.suffix}.nii*"))
    if not found:
        raise ConfigError(
            f"{config.dataset}: found no scan anat/*_{config.suffix}.nii.gz of the participants "
            "and sessions asked for, need one. Check --suffix and the labels."
        )
    return found


def _names(labels: list[str], entity: str) -> list[str]:
    """Of the folders of labels, which have the entity before them or not."""
    return [f"{entity}-{label.removeprefix(f'{entity}-')}" for label in labels]


def _chosen(there: list[Path], labels: list[str], entity: str, where: Path) -> list[Path]:
    """Folders of some labels, all if there are none.

    Raises:
        ConfigError: A label has no folder.
    """
    wanted = _names(labels, entity)
    missing = sorted(set(wanted) - {folder.name for folder in there})
    if missing:
        raise ConfigError(
            f"{where}: found no {few(missing)}, need folders of the labels asked for; there are "
            f"{few([folder.name for folder in there])}."
        )
    return [folder for folder in there if not wanted or folder.name in wanted]
