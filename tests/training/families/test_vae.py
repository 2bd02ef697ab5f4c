"""The ELBO of a VAE: `tests/models/test_label_vae.py` has it by hand; here, its ramp."""

import pytest
import torch

from seg_prior.models.label_vae import LabelVAE
from seg_prior.models.location import LocationPrior
from seg_prior.training.families.vae import losses
from tests.models import toy


def test_the_ramp_weighs_the_kl_alone(location: LocationPrior, rng: torch.Generator) -> None:
    torch.manual_seed(0)
    vae = LabelVAE(location, toy.TINY)
    noise = torch.randn(1, vae.num_latents, generator=rng)
    batch = toy.inside(location, toy.label_map()), noise
    with torch.no_grad():
        none, half = (losses(vae, location, batch, ramp) for ramp in (0.0, 0.5))
    assert float(none["loss"]) == pytest.approx(float(none["nll"]))
    assert float(half["loss"]) == pytest.approx(float(half["nll"] + 0.5 * half["kl"]))
