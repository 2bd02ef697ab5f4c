"""Who is kept out of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seg_prior.errors import ConfigError
from seg_prior.io.find import participant_of, scan_key

FEWEST_PEOPLE = 5
"""Of fewer none is drawn: the others would be too few."""


def held_out(subjects: Sequence[str], holdout: Sequence[str]) -> set[int]:
    """Positions of the held-out subjects, with all sessions of the same people.

    Raises:
        ConfigError: One is in no name, or nobody is left to train on.
    """
    person = {subject: participant_of(Path(subject)) for subject in subjects}
    unknown = set(holdout) - set(subjects) - set(person.values())
    if unknown:
        raise ConfigError(
            f"holdout: found '{min(unknown)}', need subjects of the label maps, such as "
            f"'{subjects[0]}'."
        )
    # With one session of a person the others go, too.
    people = {person.get(name, name) for name in holdout}
    out = {n for n, subject in enumerate(subjects) if person[subject] in people}
    if len(out) == len(subjects):
        raise ConfigError("holdout: names every label map, need at least one to train on.")
    return out


def drawn(subjects: Sequence[str], share: float, seed: int) -> set[int]:
    """Positions of a random share of the people, one at least; of nobody where there are few."""
    people = list(dict.fromkeys(participant_of(Path(subject)) for subject in subjects))
    if share == 0 or len(people) < FEWEST_PEOPLE:
        return set()
    order = np.random.default_rng(seed).permutation(len(people))
    out = {people[n] for n in order[: max(1, round(share * len(people)))]}
    return {n for n, subject in enumerate(subjects) if participant_of(Path(subject)) in out}


def kept(paths: Sequence[Path], holdout: Sequence[str]) -> list[Path]:
    """The files of all others.

    Raises:
        ConfigError: As `held_out`.
    """
    out = held_out([scan_key(path) for path in paths], holdout)
    return [path for n, path in enumerate(paths) if n not in out]
