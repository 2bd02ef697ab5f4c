"""`check`: scans and label maps in, what is odd about them and a proposed config out."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seg_prior.config.base import FrozenModel
from seg_prior.errors import ConfigError
from seg_prior.files import Files

if TYPE_CHECKING:
    from seg_prior.planning.fingerprint import Fingerprint

SUMMARY = "Look at label maps and scans before training, and propose a config."
EXAMPLE = "seg-prior check maps/ --images scans/ --out checked/"
OPERANDS = "labels..."
log = logging.getLogger(__name__)


class Config(FrozenModel):
    """`check`: label maps and scans in, what is odd about them and a proposed config out."""

    labels: list[Path]
    """Label maps: files, folders, patterns or .txt lists."""
    images: list[Path] = []
    """Scans, in the same forms; of the same subjects or of others."""
    out: Path
    """Folder for the label table and the proposed settings of `train-prior`."""
    label_table: Path | None = None
    """Tab-separated id, name, scored_as, intensity_class[, partner]; without one every id is a
    label, and sides are read from the geometry."""


@dataclass(frozen=True, eq=False)
class Report:
    """What `check` found.

    Attributes:
        fingerprint: The data set in numbers.
        problems: What stands in the way, one line a file.
        doubts: What deserves a look, one line each.
        facts: What the data set is, one line each.
        proposal: Settings of `train-prior`, where they differ from its defaults.
        table, prior: The files written: a label table, and the proposal.
        commands: What to type next, a line each; none where something stands in the way.
    """

    fingerprint: Fingerprint
    problems: tuple[str, ...]
    doubts: tuple[str, ...]
    facts: tuple[str, ...]
    proposal: dict[str, object]
    table: Path
    prior: Path
    commands: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """The report for people."""
        doubts = (f"DOUBT: {line}" for line in self.doubts)
        problems = (f"PROBLEM: {line}" for line in self.problems)
        return (*self.facts, *doubts, *problems)

    @property
    def failed(self) -> Sequence[tuple[str, str]]:
        """The problems, as a command tells what failed."""
        return [("check", line) for line in self.problems]


def files(config: Config) -> Files:
    """What `run` reads and writes."""
    from seg_prior.io.find import find_images, find_label_maps

    images = find_images(config.images) if config.images else []
    reads = [*find_label_maps(config.labels), *images]
    reads += [config.label_table] if config.label_table else []
    return Files(reads, [config.out / "labels.tsv", config.out / "prior.yaml"])


def run(config: Config) -> Report:
    """Look at every file, say what is odd and what to type next.

    Raises:
        SegPriorError: As `look`.
    """
    report = look(config)
    for line in report.lines:
        log.info(line)
    log.info("wrote %s and %s", report.table, report.prior)
    for line in report.commands:
        log.info("%s", line)
    return report


def look(config: Config) -> Report:
    """Look at every file, write `labels.tsv` and `prior.yaml` into a folder.

    Raises:
        SegPriorError: No label map can be used, or all are of fewer than three people.
    """
    from seg_prior.io.find import find_images, find_label_maps, participant_of
    from seg_prior.io.label_formats import write_source_table
    from seg_prior.planning import check
    from seg_prior.planning.fingerprint import read_fingerprint
    from seg_prior.planning.proposal import propose_prior

    images = find_images(config.images) if config.images else []
    labels = find_label_maps(config.labels)
    found = read_fingerprint(images, labels, config.label_table)
    people = {participant_of(one.path) for one in found.maps}
    if len(people) < check.MIN_PEOPLE:
        raise ConfigError(
            f"labels: found usable label maps of {len(people)} "
            f"{'subject' if len(people) == 1 else 'subjects'}, need at least {check.MIN_PEOPLE}: "
            "one anatomy shows nothing of how others differ. Add label maps."
        )
    looks = (check.odd_grids, check.odd_sides, check.cut_maps, check.outliers)
    problems = (*found.unread, *(one.problem for one in found.images if one.problem))
    report = Report(
        fingerprint=found,
        problems=problems,
        doubts=tuple(line for look in looks for line in look(found)),
        facts=tuple(check.facts_of(found)),
        proposal=propose_prior(found),
        table=config.out / "labels.tsv",
        prior=config.out / "prior.yaml",
        commands=() if problems else _next(config),
    )
    write_source_table(report.table, found.table)
    check.write_proposal(report.prior, report.table, report.proposal)
    return report


def _next(config: Config) -> tuple[str, ...]:
    """The commands that train a prior as proposed, and segment the scans by it."""
    model = config.out / "prior.safetensors"
    train = ["train-prior", *config.labels, "--config", config.out / "prior.yaml", "--out", model]
    results = config.out / "results"
    segment = ["segment", *config.images, results, "--model", model, "--report"]
    wanted = [train, *([segment] if config.images else [])]
    lines = (shlex.join(["seg-prior", *map(str, words)]) for words in wanted)
    return ("next:", *(f"  {line}" for line in lines))
