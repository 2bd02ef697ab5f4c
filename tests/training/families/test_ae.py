"""A deterministic autoencoder minimises what its reconstruction leaves, and nothing else."""

import torch

from seg_prior.models.label_vae import LabelVAE
from seg_prior.models.location import LocationPrior
from seg_prior.training.families.ae import losses
from tests.models import toy


def test_the_loss_is_the_reconstruction_at_the_code(
    location: LocationPrior, rng: torch.Generator
) -> None:
    torch.manual_seed(0)
    network = LabelVAE(location, toy.TINY, is_variational=False)
    labels = toy.inside(location, toy.label_map())
    found = losses(network, location, (labels, torch.randn(1, network.num_latents)), 1.0)
    assert set(found) == {"loss", "nll"}
    with torch.no_grad():
        log_prior, *_ = network(labels, torch.zeros(1, network.num_latents))
    by_hand = -log_prior.gather(1, labels[:, None].long()).mean()
    torch.testing.assert_close(found["loss"].detach(), by_hand)
