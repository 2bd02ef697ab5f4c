"""`check`: scans and label maps in, what is odd about them and a proposed config out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from seg_prior.config.commands import CheckConfig
from seg_prior.errors import ConfigError
from seg_prior.files import whole_file
from seg_prior.io.find import find_images, person_of
from seg_prior.planning.check import (
    MIN_PEOPLE,
    cut_maps,
    facts_of,
    odd_grids,
    outliers,
    table_text,
    write_proposal,
)
from seg_prior.planning.fingerprint import Fingerprint, read_fingerprint
from seg_prior.planning.proposal import propose_prior


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
    """

    fingerprint: Fingerprint
    problems: tuple[str, ...]
    doubts: tuple[str, ...]
    facts: tuple[str, ...]
    proposal: dict[str, object]
    table: Path
    prior: Path


def run(config: CheckConfig, show: Callable[[str], None] = print) -> Report:
    """Look at every file, say what is odd, write `labels.tsv` and `prior.yaml` into a folder.

    Raises:
        SegPriorError: No label map can be used, or all are of fewer than three people.
    """
    images = find_images(config.images) if config.images else []
    labels = find_images(config.labels)
    print_ = read_fingerprint(images, labels, config.label_table)
    people = {person_of(one.path) for one in print_.maps}
    if len(people) < MIN_PEOPLE:
        raise ConfigError(
            f"labels: found usable label maps of {len(people)} "
            f"{'subject' if len(people) == 1 else 'subjects'}, need at least {MIN_PEOPLE}: one "
            "anatomy shows nothing of how others differ. Add label maps."
        )
    problems = (*print_.unread, *(one.problem for one in print_.images if one.problem))
    doubts = tuple(line for part in (odd_grids, cut_maps, outliers) for line in part(print_))
    proposal = propose_prior(print_)
    facts = tuple(facts_of(print_))
    table, prior = config.out / "labels.tsv", config.out / "prior.yaml"
    config.out.mkdir(parents=True, exist_ok=True)
    with whole_file(table) as temporary:
        temporary.write_text(table_text(print_.table), "utf-8")
    write_proposal(prior, table, proposal)
    for line in facts:
        show(line)
    for line in doubts:
        show(f"DOUBT: {line}")
    for line in problems:
        show(f"PROBLEM: {line}")
    show(f"wrote {table} and {prior}")
    return Report(print_, problems, doubts, facts, proposal, table, prior)
