"""Who is kept out of a training, by name."""

from pathlib import Path

import pytest

from seg_prior.errors import ConfigError
from seg_prior.training.holdout import kept

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
