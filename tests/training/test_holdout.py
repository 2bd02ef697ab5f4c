"""Who is kept out of a training, by name."""

from pathlib import Path

import pytest

from seg_prior.errors import ConfigError
from seg_prior.training.holdout import drawn, kept

PATHS = [Path(f"{name}_dseg.nii.gz") for name in ("sub-01_ses-1", "sub-01_ses-2", "sub-02")]


@pytest.mark.parametrize("name", ["sub-01", "sub-01_ses-1", "sub-01_ses-2"])
def test_all_sessions_of_a_person_go(name: str) -> None:
    assert kept(PATHS, [name]) == PATHS[2:]
    assert kept(PATHS, []) == PATHS


def test_names_that_are_nobody_and_everybody_are_refused() -> None:
    with pytest.raises(ConfigError, match="holdout: found 'sub-03', need subjects"):
        kept(PATHS, ["sub-03"])
    with pytest.raises(ConfigError, match="every label map"):
        kept(PATHS, ["sub-01", "sub-02"])


PEOPLE = [f"sub-{n:02d}_ses-{m}" for n in range(20) for m in (1, 2)]


def test_a_share_of_the_people_is_drawn_with_all_their_sessions() -> None:
    out = drawn(PEOPLE, 0.15, seed=0)
    assert len(out) == 6
    assert out == {n for n in range(40) if n ^ 1 in out}
    assert out == drawn(PEOPLE, 0.15, seed=0)
    assert out != drawn(PEOPLE, 0.15, seed=1)


def test_of_few_people_or_no_share_nobody_is_drawn() -> None:
    assert drawn(PEOPLE[:8], 0.15, seed=0) == set()
    assert drawn(PEOPLE, 0, seed=0) == set()
    assert len(drawn(PEOPLE[:10], 0.01, seed=0)) == 2  # one of five people at least
