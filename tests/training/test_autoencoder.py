"""Training of the autoencoder: who is measured when, and that a stop forgets nothing of it."""

import csv
from pathlib import Path

import numpy as np
import pytest

from seg_prior.config.training import PriorConfig
from seg_prior.models.location import LocationPrior
from seg_prior.synthesis.anatomies import AlignedLabelMap
from seg_prior.training.autoencoder import _evenly, train_autoencoder
from seg_prior.training.loop import Run
from seg_prior.training.prior import Anatomies
from tests.models import toy

OPTIM = {"steps": 12, "warmup_steps": 1, "precision": "32-true", "num_workers": 0}


def anatomies(is_lent: bool = True) -> Anatomies:
    maps = tuple(AlignedLabelMap(labels, toy.grid(), np.eye(4)) for labels in toy.label_maps())
    names = tuple(f"sub-{n}" for n in range(6))
    return Anatomies(
        names[:4], names[4:], maps[:4], maps[4:], toy.table(), toy.grid(), (0.0,) * 4, 30.0, is_lent
    )


def config(kind: str = "vae", **optim: int) -> PriorConfig:
    return PriorConfig.model_validate(
        {"kind": kind, "vae": toy.TINY, "optim": OPTIM | {"validate_every": 4} | optim}
    )


def judged(folder: Path) -> list[str]:
    with (folder / "log.csv").open() as file:
        return [row["step"] for row in csv.DictReader(file) if row["val_dice"]]


def test_lent_maps_are_measured_until_they_are_learned_from(
    location: LocationPrior, tmp_path: Path
) -> None:
    _, lent = train_autoencoder(config(), anatomies(), location, Run(tmp_path / "lent", "cpu"))
    assert judged(tmp_path / "lent") == ["4", "8", "10"]
    kept = anatomies(is_lent=False)
    _, held_out = train_autoencoder(config(), kept, location, Run(tmp_path / "kept", "cpu"))
    assert judged(tmp_path / "kept") == ["4", "8", "12"]
    assert lent["atlas_dice"] == held_out["atlas_dice"]  # the same two maps
    assert {"dice", "dice_sd", "nll", "atlas_nll", "kl", "active_units"} <= set(lent)
    assert (tmp_path / "lent" / "log.png").exists()


def test_what_was_measured_outlives_a_stop(location: LocationPrior, tmp_path: Path) -> None:
    run = Run(tmp_path, "cpu")
    network, report = train_autoencoder(config(save_every=11), anatomies(), location, run)
    again, same = train_autoencoder(config(save_every=11), anatomies(), location, run)
    assert same == report
    for first, second in zip(network.parameters(), again.parameters(), strict=True):
        assert (first == second).all()


def test_half_of_the_later_anatomies_are_of_the_held_out() -> None:
    given = anatomies()
    found = _evenly(given)
    assert sum(any(m is h for h in given.held_out) for m in found) == len(given.training)


@pytest.mark.parametrize("kind", ["ae", "swae"])
def test_other_kinds_have_no_cost_of_z(location: LocationPrior, tmp_path: Path, kind: str) -> None:
    asked = config(kind, batch_size=4, steps=3)
    network, report = train_autoencoder(asked, anatomies(), location, Run(tmp_path, "cpu"))
    assert not network.is_variational
    assert "kl" not in report
