"""The table of families: a bound by hand, and rows that say what was not measured."""

import math
from pathlib import Path

import pytest
import torch

from experiments.config import FamiliesConfig
from experiments.families import nats_a_voxel, of_label_map, scans, table, unseen
from seg_prior.checkpoints.file import load_model
from seg_prior.io.find import participant_of
from seg_prior.models.label_vae import LabelVAE, one_hot
from seg_prior.models.linear import fit_atlas
from seg_prior.models.location import LocationPrior
from seg_prior.models.objective import kl_to_standard_normal
from seg_prior.synthesis.anatomies import sample_labels
from seg_prior.training.align import align_label_maps
from tests.models import toy


def test_of_an_atlas_the_bound_is_the_mean_log_probability(location: LocationPrior) -> None:
    known = toy.inside(location, toy.label_map())[0]
    nothing = torch.zeros(1, 0)
    found = nats_a_voxel(fit_atlas(location), known, nothing, nothing, 0)
    by_hand = -location.log_prob.gather(0, known[None].long()).mean()
    assert found == pytest.approx(float(by_hand))


def test_over_draws_the_bound_is_minus_the_elbo(location: LocationPrior) -> None:
    """An untrained decoder does not listen to z, so that what is left is the KL."""
    torch.manual_seed(0)
    vae = LabelVAE(location, toy.TINY).eval()
    vae.decoder.knot_sd.data.zero_()
    labels = toy.inside(location, toy.label_map())
    with torch.no_grad():
        mean, log_var = vae.encode(one_hot(labels, toy.NUM_LABELS))
        draws = [nats_a_voxel(vae, labels[0], mean, log_var, seed) for seed in range(200)]
        atlas = nats_a_voxel(vae, labels[0], torch.zeros_like(mean), torch.zeros_like(mean), 0)
    kl = float(kl_to_standard_normal(mean, log_var).sum()) / labels.numel()
    assert sum(draws) / 200 - atlas == pytest.approx(kl, rel=0.05)


def test_where_q_is_a_point_there_is_no_bound(location: LocationPrior) -> None:
    network = LabelVAE(location, toy.TINY, is_variational=False).eval()
    labels = toy.inside(location, toy.label_map())
    with torch.no_grad():
        mean, log_var = network.encode(one_hot(labels, toy.NUM_LABELS))
        assert math.isnan(nats_a_voxel(network, labels[0], mean, log_var, 0))


def test_a_label_map_is_measured(phantom_folder: Path, tiny_pca: Path) -> None:
    model = load_model(tiny_pca)
    paths = sorted(phantom_folder.glob("*_dseg.nii.gz"))
    maps = [sample_labels(m, model.header.grid) for m in align_label_maps(paths, model)]
    found = of_label_map(model, maps[0], 0)
    assert 0.5 < found["dice"] <= 1
    assert 0 < found["nats"] < 2


def test_people_held_out_are_those_segmented_unless_others_are_named(
    phantom_folder: Path, tmp_path: Path
) -> None:
    maps = sorted(phantom_folder.glob("*_dseg.nii.gz"))
    person, other = (participant_of(path) for path in maps[:2])
    asked = {"data": phantom_folder, "maps": "*_dseg.nii.gz", "holdout": [person], "out": tmp_path}
    asked |= {"images": "*_phantom.nii.gz", "references": "*_dseg.nii.gz"}
    config = FamiliesConfig.model_validate(asked)
    assert unseen(config) == maps[:1]
    assert [reference for _, reference in scans(config)] == maps[:1]
    config = FamiliesConfig.model_validate(asked | {"scored": [other]})
    assert unseen(config) == maps[:1]
    assert [reference for _, reference in scans(config)] == maps[1:2]


def test_what_is_not_defined_has_no_figure() -> None:
    cells = [
        {"kind": "vae", "density": "normal", "nats": [0.2, 0.3], "segmented": [0.7, 0.7]},
        {"kind": "ae", "density": "kde", "nats": [math.nan, math.nan]},
    ]
    cells = [cell | {"dice": [0.9, 0.8]} for cell in cells]
    rows = table(cells, {"vae": 1.23, "ae": 2.0}).splitlines()[2:]
    assert rows[0] == (
        "| vae | normal | 0.850 ± 0.071 (2) | 0.250 ± 0.071 (2) | 0.700 ± 0.000 (2) | 1.2 |"
    )
    assert rows[1] == "| ae | kde | same | - | - | - |"
