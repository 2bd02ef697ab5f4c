"""What is told of a prior: figures by hand, and warnings where it has learned nothing or copies."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from seg_prior.models.label_vae import LabelVAE
from seg_prior.models.linear import fit_atlas
from seg_prior.models.location import LocationPrior
from seg_prior.synthesis.anatomies import AlignedLabelMap
from seg_prior.training.measure import describe, measure, warnings_of
from seg_prior.training.prior import Anatomies
from tests.models import toy

REPORT: dict[str, Any] = {
    "dice": 0.9,
    "dice_sd": 0.01,
    "atlas_dice": 0.7,
    "nll": 0.1,
    "atlas_nll": 0.3,
    "kl": 0.05,
    "active_units": 20.0,
    "num_latents": 100,
    "num_subjects": 3,
    "subjects": "held out",
    "is_trained_in": True,
}


@pytest.fixture
def anatomies() -> Anatomies:
    maps = tuple(AlignedLabelMap(labels, toy.grid(), np.eye(4)) for labels in toy.label_maps())
    names = tuple(f"sub-{n}" for n in range(6))
    return Anatomies(
        names[:4], names[4:], maps[:4], maps[4:], toy.table(), toy.grid(), (0.0,) * 4, 30.0, True
    )


def test_an_atlas_is_measured_against_itself(anatomies: Anatomies, location: LocationPrior) -> None:
    found = measure(fit_atlas(location), anatomies)
    assert found["dice"] == found["atlas_dice"]
    inside = torch.cat([toy.inside(location, m.indices) for m in anatomies.held_out])
    by_hand = -location.log_prob[None].expand(2, -1, -1).gather(1, inside[:, None].long()).mean()
    assert found["nll"] == pytest.approx(float(by_hand))
    assert found["kl"] == found["active_units"] == 0


def test_held_out_maps_are_measured_and_training_maps_where_there_are_none(
    anatomies: Anatomies, location: LocationPrior
) -> None:
    prior = fit_atlas(location)
    held_out = measure(prior, anatomies)["nll"]
    together = anatomies.together()
    assert together.names == (*anatomies.names, *anatomies.held_out_names)
    assert measure(prior, together)["nll"] != held_out
    kept = replace(anatomies, is_lent=False)
    assert kept.together() is kept


def test_of_a_point_the_cost_is_not_told(anatomies: Anatomies, location: LocationPrior) -> None:
    network = LabelVAE(location, toy.TINY, is_variational=False).eval()
    found = measure(network, anatomies)
    assert "kl" not in found
    assert "active_units" not in found
    assert measure(LabelVAE(location, toy.TINY).eval(), anatomies)["kl"] > 0


def test_a_report_is_told_in_nats_a_voxel() -> None:
    lines = describe(REPORT)
    assert lines[0] == (
        "reconstruction of 3 held out maps, trained in since: Dice 0.900 ± 0.010 (atlas 0.700), "
        "0.100 nats a voxel are left (atlas 0.300)"
    )
    assert lines[1] == "latent: 20 of 100 dimensions in use, KL 0.050 nats a voxel"
    alone = describe({k: v for k, v in REPORT.items() if k != "dice_sd"})
    assert "Dice 0.900 (atlas" in alone[0]
    assert len(describe({k: v for k, v in REPORT.items() if k not in ("kl", "active_units")})) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"active_units": 0.0}, "the latent has collapsed"),
        ({"dice": 0.99, "kl": 0.4}, "z can copy anything: Dice 0.990"),
        ({"dice": 0.99}, None),  # it is cheap: a good prior
        ({"dice": 0.99, "kl": 0.4, "subjects": "training"}, None),
        ({"num_latents": 0, "active_units": 0.0}, None),
    ],
)
def test_what_is_wrong_is_warned_of(change: dict[str, Any], words: str | None) -> None:
    found = warnings_of(REPORT | change)
    assert len(found) == (words is not None)
    if words:
        assert words in found[0]


def test_a_point_that_reconstructs_everything_copies() -> None:
    report = {k: v for k, v in REPORT.items() if k not in ("kl", "active_units")} | {"dice": 0.99}
    [found] = warnings_of(report)
    assert "z can copy anything" in found
    assert "inf" not in found
