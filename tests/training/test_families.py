"""What label autoencoders are trained to make small; the ELBO by hand is in test_label_vae.py."""

import pytest
import torch
from torch import Tensor

from seg_prior.models.label_vae import LabelVAE
from seg_prior.models.location import LocationPrior
from seg_prior.training.families import LOSSES, normal_targets, sliced_distance
from tests.models import toy

BATCH, NUM_LATENTS = 8, 200


def distance(codes: Tensor, rng: torch.Generator) -> float:
    return float(sliced_distance(codes, torch.randn(codes.shape, generator=rng)))


def test_targets_are_symmetric_and_rise() -> None:
    targets = normal_targets(5)
    torch.testing.assert_close(targets, -targets.flip(0))
    assert targets.tolist() == sorted(targets.tolist())


@pytest.mark.parametrize("num", [4, 8, 32])
def test_among_normals_that_of_deviation_one_is_nearest(num: int, rng: torch.Generator) -> None:
    draws = torch.randn(20_000, num, generator=rng).sort(1).values
    targets = normal_targets(num)
    best = (draws * targets).sum() / draws.square().sum()
    assert float(best) == pytest.approx(1, abs=0.025)


def test_draws_of_the_standard_normal_lie_nearer_than_others(rng: torch.Generator) -> None:
    codes = torch.randn(BATCH, NUM_LATENTS, generator=rng)
    near = distance(codes, rng)
    for other in (0.5 * codes, 1.6 * codes, codes + 0.7, 0 * codes):
        assert distance(other, rng) > near + 0.05


def test_the_order_of_a_batch_does_not_matter(rng: torch.Generator) -> None:
    codes = torch.randn(BATCH, NUM_LATENTS, generator=rng)
    noise = torch.randn(BATCH, NUM_LATENTS, generator=rng)
    torch.testing.assert_close(sliced_distance(codes, noise), sliced_distance(codes.flip(0), noise))


def test_its_gradient_brings_codes_to_the_standard_normal(rng: torch.Generator) -> None:
    """Of 64 codes that are learned in batches of 8, as a network would."""
    codes = (3 + 0.2 * torch.randn(64, 20, generator=rng)).requires_grad_()
    optimizer = torch.optim.Adam([codes], lr=0.05)
    for _ in range(600):
        batch = codes[torch.randperm(64, generator=rng)[:BATCH]]
        optimizer.zero_grad()
        sliced_distance(batch, torch.randn(batch.shape, generator=rng)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert abs(float(codes.detach().mean())) < 0.3
    assert float(codes.detach().std(0).mean()) == pytest.approx(1, abs=0.25)


def test_losses_are_nats_a_voxel(location: LocationPrior, rng: torch.Generator) -> None:
    torch.manual_seed(0)
    network = LabelVAE(location, toy.TINY, is_variational=False)
    labels = torch.cat([toy.inside(location, m) for m in toy.label_maps()[:4]])
    noise = torch.randn(4, network.num_latents, generator=rng)
    found = LOSSES["swae"](network, location, (labels, noise), 0.5)
    found = {name: value.detach() for name, value in found.items()}
    assert float(found["loss"]) == pytest.approx(float(found["nll"] + 0.5 * found["sliced"]))
    with torch.no_grad():
        mean, _ = network.encode(
            torch.nn.functional.one_hot(labels.long(), 5).movedim(2, 1).float()
        )
        expected = sliced_distance(mean, noise) * network.num_latents / (2 * labels.shape[1])
    torch.testing.assert_close(found["sliced"], expected)


def test_that_of_ae_is_the_reconstruction_at_the_code(
    location: LocationPrior, rng: torch.Generator
) -> None:
    torch.manual_seed(0)
    network = LabelVAE(location, toy.TINY, is_variational=False)
    labels = toy.inside(location, toy.label_map())
    found = LOSSES["ae"](network, location, (labels, torch.randn(1, network.num_latents)), 1.0)
    assert set(found) == {"loss", "nll"}
    with torch.no_grad():
        log_prior, *_ = network(labels, torch.zeros(1, network.num_latents))
    by_hand = -log_prior.gather(1, labels[:, None].long()).mean()
    torch.testing.assert_close(found["loss"].detach(), by_hand)


def test_the_ramp_weighs_the_kl_of_a_vae_alone(
    location: LocationPrior, rng: torch.Generator
) -> None:
    torch.manual_seed(0)
    vae = LabelVAE(location, toy.TINY)
    noise = torch.randn(1, vae.num_latents, generator=rng)
    batch = toy.inside(location, toy.label_map()), noise
    with torch.no_grad():
        none, half = (LOSSES["vae"](vae, location, batch, ramp) for ramp in (0.0, 0.5))
    assert float(none["loss"]) == pytest.approx(float(none["nll"]))
    assert float(half["loss"]) == pytest.approx(float(half["nll"] + 0.5 * half["kl"]))
