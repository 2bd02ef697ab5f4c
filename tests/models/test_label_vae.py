"""The label VAE before training, where it is known what it says, and the order of its voxels."""

import math

import pytest
import torch
from torch import Tensor, nn

from seg_prior.models.cells import CELL, by_cell, of_cells
from seg_prior.models.label_vae import LabelVAE, fit_residual_pca, one_hot
from seg_prior.models.location import LocationPrior, location_prior
from seg_prior.models.objective import kl_to_standard_normal, log_prob_of_labels
from seg_prior.training.families import LOSSES
from tests.models import toy


@pytest.fixture
def vae(location: LocationPrior) -> LabelVAE:
    torch.manual_seed(0)
    return LabelVAE(location, toy.TINY).eval()


@pytest.fixture
def maps(location: LocationPrior) -> Tensor:
    """(2, V) label indices."""
    return torch.cat([toy.inside(location, labels) for labels in toy.label_maps()[:2]])


def wake(vae: LabelVAE) -> None:
    """Give the heads that start at zero something to say."""
    for head in (vae.decoder.velocity[-1], vae.decoder.residual[-1]):
        assert isinstance(head, nn.Conv3d | nn.Linear)
        nn.init.normal_(head.weight, std=0.05)


def test_one_hot_by_hand() -> None:
    found = one_hot(torch.tensor([[2, 0]], dtype=torch.uint8), 3)
    assert found.tolist() == [[[0, 1], [0, 0], [1, 0]]]


def test_there_are_c_latents_for_every_block_of_8_voxels(vae: LabelVAE, maps: Tensor) -> None:
    mean, log_var = vae.encode(one_hot(maps, toy.NUM_LABELS))
    assert vae.num_latents == 4 * 2 * 2 * 3
    assert mean.shape == log_var.shape == (2, vae.num_latents)


def test_before_training_zero_decodes_to_the_location_prior(
    vae: LabelVAE, location: LocationPrior
) -> None:
    log_prior = vae.decode(torch.zeros(2, vae.num_latents))
    expected = location.log_prob.expand(2, -1, -1)
    torch.testing.assert_close(log_prior, expected, atol=2e-4, rtol=0)


def test_before_training_q_is_narrow(vae: LabelVAE, maps: Tensor) -> None:
    _, log_var = vae.encode(one_hot(maps, toy.NUM_LABELS))
    assert -6 < float(log_var.detach().mean()) < -2


def test_without_noise_z_is_the_mean(vae: LabelVAE, maps: Tensor) -> None:
    wake(vae)
    log_prior, mean, log_var = vae(maps, torch.zeros(2, vae.num_latents))
    assert torch.equal(log_prior, vae.decode(mean))
    assert torch.equal(mean, vae.encode(one_hot(maps, toy.NUM_LABELS))[0])
    assert torch.equal(log_var, vae.encode(one_hot(maps, toy.NUM_LABELS))[1])


def test_noise_is_scaled_by_the_deviation(
    vae: LabelVAE, maps: Tensor, rng: torch.Generator
) -> None:
    wake(vae)
    noise = torch.randn(2, vae.num_latents, generator=rng)
    log_prior, mean, log_var = vae(maps, noise)
    expected = vae.decode(mean + log_var.exp().sqrt() * noise)
    torch.testing.assert_close(log_prior, expected, atol=1e-4, rtol=1e-5)
    assert not torch.allclose(log_prior, vae.decode(mean))


def test_eval_mode_repeats_itself_and_batches_do_not_mix(vae: LabelVAE, maps: Tensor) -> None:
    wake(vae)
    noise = torch.zeros(2, vae.num_latents)
    both, alone = vae(maps, noise)[0], vae(maps[1:], noise[1:])[0]
    torch.testing.assert_close(both[1:], alone, atol=1e-4, rtol=1e-5)
    assert torch.equal(both, vae(maps, noise)[0])


def test_decoded_columns_are_normalised(vae: LabelVAE, rng: torch.Generator) -> None:
    wake(vae)
    log_prior = vae.decode(torch.randn(2, vae.num_latents, generator=rng))
    total = torch.logsumexp(log_prior, dim=1)
    torch.testing.assert_close(total, torch.zeros_like(total), atol=1e-5, rtol=0)
    assert not torch.allclose(log_prior[0], log_prior[1])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_velocity_moves_the_location_prior(
    vae: LabelVAE, location: LocationPrior, axis: int
) -> None:
    """A constant velocity of half a quarter-size voxel is two voxels everywhere."""
    head = vae.decoder.velocity[-1]
    assert isinstance(head, nn.Conv3d)
    assert head.bias is not None
    with torch.no_grad():
        head.bias[axis] = 0.5
    displacement = torch.zeros(1, 3, 4, 4, 6)
    displacement[:, axis] = 2
    expected = torch.log_softmax(location.sample_moved(displacement), dim=1)
    found = vae.decode(torch.zeros(1, vae.num_latents))
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)
    assert not torch.allclose(found[0], location.log_prob, atol=0.1)


def test_residual_logits_go_to_their_label_and_place_in_the_cell(
    vae: LabelVAE, location: LocationPrior
) -> None:
    label, place = toy.LEFT, 5
    head = vae.decoder.residual[-1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.bias.view(toy.NUM_LABELS, CELL)[label, place] = 30.0
    log_prior = vae.decode(torch.zeros(1, vae.num_latents))[0]
    is_place = torch.arange(location.voxels.numel()) % CELL == place
    assert (log_prior[label, is_place] > -1e-3).all()
    elsewhere = log_prior[:, ~is_place], location.log_prob[:, ~is_place]
    torch.testing.assert_close(*elsewhere, atol=2e-4, rtol=0)


def test_the_encoder_reads_every_cell_at_its_own_place(
    vae: LabelVAE, location: LocationPrior, maps: Tensor
) -> None:
    """What enters the first convolution holds a cell's eight one-hot voxels, label by label."""
    seen: list[Tensor] = []
    halving = vae.encoder.to_middle[0]
    halving.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    stem = vae.encoder.stem
    with torch.no_grad():
        for name, parameter in vae.encoder.named_parameters():
            if name.startswith("stem"):
                parameter.zero_()
        for row, (label, place) in enumerate(((toy.CORE, 0), (toy.CORE, 5), (toy.RIGHT, 3))):
            stem.weight.view(8, toy.NUM_LABELS, CELL)[row, label, place] = 1.0
    vae.encode(one_hot(maps[:1], toy.NUM_LABELS))
    labels = location.scatter(maps[:1, None].float(), 0.0)[0, 0]
    core, right = labels == toy.CORE, labels == toy.RIGHT
    assert torch.equal(seen[0][0, 0] > 0, core[0::2, 0::2, 0::2])
    assert torch.equal(seen[0][0, 1] > 0, core[1::2, 0::2, 1::2])
    assert torch.equal(seen[0][0, 2] > 0, right[0::2, 1::2, 1::2])
    assert core[0::2, 0::2, 0::2].any()


def test_every_weight_learns(vae: LabelVAE, maps: Tensor, rng: torch.Generator) -> None:
    wake(vae)
    for module in vae.modules():
        if isinstance(module, nn.Conv3d) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.05)
    losses = LOSSES["vae"](
        vae, vae.location, (maps, torch.randn(2, vae.num_latents, generator=rng)), 1.0
    )
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    still = [name for name, p in vae.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_losses_of_stage_1_are_nats_per_voxel_and_means_over_subjects(
    vae: LabelVAE, maps: Tensor, rng: torch.Generator
) -> None:
    """-ELBO / V: both terms have one scale, whatever the batch."""
    wake(vae)
    noise = torch.randn(2, vae.num_latents, generator=rng)
    losses = LOSSES["vae"](vae, vae.location, (maps, noise), 0.25)
    log_prior, mean, log_var = vae(maps, noise)
    num_voxels = maps.shape[1]
    elbo = log_prob_of_labels(log_prior, maps)
    kl = kl_to_standard_normal(mean, log_var).sum(1)
    expected = ((0.25 * kl - elbo) / num_voxels).mean()
    torch.testing.assert_close(losses["loss"], expected)
    torch.testing.assert_close(losses["nll"] + losses["kl"], ((kl - elbo) / num_voxels).mean())
    assert float(losses["nll"].detach()) < 5  # a voxel's worth, not a volume's


def test_in_bfloat16_the_log_prior_stays_float32_and_near(
    vae: LabelVAE, maps: Tensor, rng: torch.Generator
) -> None:
    wake(vae)
    noise = torch.randn(2, vae.num_latents, generator=rng)
    full, mean, _ = vae(maps, noise)
    with torch.autocast("cpu", torch.bfloat16):
        half, half_mean, half_log_var = vae(maps, noise)
    for value in (half, half_mean, half_log_var):
        assert value.dtype == torch.float32
    torch.testing.assert_close(half_mean, mean, atol=0.05, rtol=0.05)
    torch.testing.assert_close(half, full, atol=0.2, rtol=0.05)
    torch.testing.assert_close(half.exp().sum(1), torch.ones(2, maps.shape[1]))


def test_sides_are_multiples_of_8() -> None:
    shape = (16, 16, 20)
    location = location_prior(torch.full((2, *shape), 0.5))
    with pytest.raises(AssertionError, match="20"):
        LabelVAE(location, toy.TINY)


def test_buffers_of_the_grid_are_not_stored_twice(vae: LabelVAE) -> None:
    stored = {name for name in vae.state_dict() if name.startswith("location.")}
    assert stored == {"location.log_prob", "location.cells"}
    assert math.prod(vae.decoder.latent_shape) == vae.num_latents


@pytest.fixture
def detailed(location: LocationPrior) -> LabelVAE:
    """A VAE with detail that starts from the maps' main surprises."""
    torch.manual_seed(0)
    vae = LabelVAE(location, toy.TINY.model_copy(update={"detail_channels": 6})).eval()
    flat = [toy.inside(location, labels)[0] for labels in toy.label_maps()]
    vae.init_detail(fit_residual_pca(location, flat, 6))
    return vae


def test_the_main_surprises_are_orthonormal_and_explain_the_most(location: LocationPrior) -> None:
    flat = [toy.inside(location, labels)[0] for labels in toy.label_maps()]
    basis = fit_residual_pca(location, flat, 6)
    torch.testing.assert_close(basis.T @ basis, torch.eye(6), atol=1e-5, rtol=0)
    expected = by_cell(location.prob[None])[0]
    residual = torch.cat([by_cell(one_hot(s[None], toy.NUM_LABELS))[0] - expected for s in flat])
    explained = (residual @ basis).square().sum(0)
    assert (explained.diff() <= 1e-3).all()
    other, _ = torch.linalg.qr(torch.randn(basis.shape, generator=torch.Generator().manual_seed(1)))
    assert explained.sum() > 2 * (residual @ other).square().sum()


def test_detail_tells_an_anatomy_before_any_training(
    detailed: LabelVAE, location: LocationPrior
) -> None:
    """Alone, with the coarse part of z at zero, it undoes most of the atlas's residual."""
    new = toy.inside(location, toy.label_map(1.03, 0.95, 0.8))
    with torch.inference_mode():
        z, _ = detailed.encode(one_hot(new, toy.NUM_LABELS))
        z[:, : detailed.decoder.num_coarse] = 0
        nats = -log_prob_of_labels(detailed.decode(z), new).item()
        atlas = -log_prob_of_labels(location.log_prob[None], new).item()
    assert nats < 0.7 * atlas


def test_detail_is_f_numbers_for_every_cell_and_stays_in_its_cell(
    vae: LabelVAE, detailed: LabelVAE, location: LocationPrior
) -> None:
    num_cells = location.cells.numel()
    assert detailed.num_latents == vae.num_latents + 6 * num_cells
    z = torch.zeros(1, detailed.num_latents)
    before = detailed.decode(z)
    z[0, vae.num_latents :].view(6, num_cells)[2, 7] = 3.0
    changed = (detailed.decode(z) - before).abs().amax((0, 1)) > 1e-5
    assert changed.nonzero().flatten().div(CELL, rounding_mode="floor").unique().tolist() == [7]


def test_decoding_some_cells_is_decoding_all_and_choosing(
    detailed: LabelVAE, rng: torch.Generator
) -> None:
    wake(detailed)
    z = torch.randn(2, detailed.num_latents, generator=rng)
    cells = torch.tensor([1, 5, 30])
    torch.testing.assert_close(detailed.decode(z, cells), of_cells(detailed.decode(z), cells))


def test_every_weight_of_the_detail_learns(
    detailed: LabelVAE, maps: Tensor, rng: torch.Generator
) -> None:
    wake(detailed)
    assert detailed.encoder.detail is not None
    nn.init.normal_(detailed.encoder.detail.head.weight, std=0.05)
    for module in detailed.modules():
        if isinstance(module, nn.Conv3d) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.05)
    noise = torch.randn(2, detailed.num_latents, generator=rng)
    LOSSES["vae"](detailed, detailed.location, (maps, noise), 1.0)["loss"].backward()  # type: ignore[no-untyped-call]
    learnt = detailed.named_parameters()
    still = [name for name, p in learnt if p.grad is None or not p.grad.any()]
    assert not still


def test_kinds_of_background_are_one_to_z_and_split_by_the_location_prior(
    rng: torch.Generator,
) -> None:
    groups = ((0, toy.SHELL), (toy.CORE,), (toy.LEFT,), (toy.RIGHT,))
    location = location_prior(toy.frequency(), groups)
    vae = LabelVAE(location, toy.TINY.model_copy(update={"detail_channels": 4})).eval()
    label_map = toy.inside(location, toy.label_map())[0]
    vae.init_detail(fit_residual_pca(location, [label_map], 4))
    soft = one_hot(label_map[None], toy.NUM_LABELS)
    other = one_hot(torch.where(label_map == toy.SHELL, 0, label_map)[None], toy.NUM_LABELS)
    with torch.no_grad():
        mean, _ = vae.encode(soft)
        again, _ = vae.encode(other)
        assert torch.equal(mean, again)
        mean[:, : vae.num_coarse] = 0  # nothing moves
        log_prior = vae.decode(mean)
    ratio = location.log_prob[toy.SHELL] - location.log_prob[0]
    torch.testing.assert_close(log_prior[0, toy.SHELL] - log_prior[0, 0], ratio, atol=1e-3, rtol=0)
    noise = torch.zeros(1, vae.num_latents)
    losses = [
        float(LOSSES["vae"](vae, location, (one[None], noise), 1.0)["nll"].detach())
        for one in (label_map, torch.where(label_map == toy.SHELL, 0, label_map))
    ]
    assert losses[0] == losses[1]
