"""The flow of the detail: what it does before it has learned anything, and after."""

import pytest
import torch
from torch import Tensor, nn

from seg_prior.config.networks import DetailFlowConfig
from seg_prior.models.detail import LEAST_SD, DetailFlow
from seg_prior.models.location import LocationPrior
from seg_prior.training.draws import flow_losses

CHANNELS = 2
SMALL = DetailFlowConfig(width=16, fine_width=8, num_blocks=1)


@pytest.fixture(params=[0, 1], ids=["of before", "with fine blocks"])
def flow(location: LocationPrior, request: pytest.FixtureRequest) -> DetailFlow:
    torch.manual_seed(0)
    form = SMALL.model_copy(update={"num_fine_blocks": request.param})
    return DetailFlow(location, CHANNELS, form)


def normal(flow: DetailFlow, channels: int, rng: torch.Generator, batch: int = 1) -> Tensor:
    return torch.randn(batch, flow.cells.numel(), channels, generator=rng)


def wake(flow: DetailFlow) -> None:
    for parameter in flow.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3)


def test_before_training_noise_flows_to_itself(flow: DetailFlow, rng: torch.Generator) -> None:
    """The best that looks at each number alone turns N(0, I) into N(0, I)."""
    noise = normal(flow, CHANNELS, rng)
    drawn = flow.draw(noise, torch.zeros(1, len(noise[0]), 2 * CHANNELS))
    torch.testing.assert_close(drawn, noise, rtol=0.01, atol=0)


def test_slope_and_deviation_are_those_of_each_channel(
    flow: DetailFlow, rng: torch.Generator
) -> None:
    context = normal(flow, 2 * CHANNELS, rng, batch=50)
    noise = normal(flow, CHANNELS, rng, batch=50)
    truth = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 0.0])
    detail = truth[0] * context[..., :CHANNELS] + truth[1] * noise
    flow.fit_scale(detail, context)
    torch.testing.assert_close(flow.slope, truth[0], atol=0.02, rtol=0)
    torch.testing.assert_close(flow.sd, torch.tensor([0.5, LEAST_SD]), atol=0.02, rtol=0)
    scaled = flow.scaled(detail, context)
    assert abs(float(scaled[..., 0].std()) - 1) < 0.02


def test_what_is_drawn_is_of_the_scale_of_the_detail(
    flow: DetailFlow, rng: torch.Generator
) -> None:
    flow.slope.copy_(torch.tensor([2.0, 0.0]))
    flow.sd.copy_(torch.tensor([0.1, 3.0]))
    noise, context = normal(flow, CHANNELS, rng), normal(flow, 2 * CHANNELS, rng)
    drawn = flow.draw(noise, context)
    torch.testing.assert_close(flow.scaled(drawn, context), noise, rtol=0.01, atol=1e-3)


def test_the_gain_is_of_all_that_is_drawn(flow: DetailFlow, rng: torch.Generator) -> None:
    noise, context = normal(flow, CHANNELS, rng), normal(flow, 2 * CHANNELS, rng)
    before = flow.draw(noise, context)
    flow.gain.fill_(1.5)
    torch.testing.assert_close(flow.draw(noise, context), 1.5 * before)


def test_a_cell_hears_of_others(flow: DetailFlow, rng: torch.Generator) -> None:
    wake(flow)
    flow.eval()
    noise, context = normal(flow, CHANNELS, rng), normal(flow, 2 * CHANNELS, rng)
    time = torch.tensor([0.5])
    before = flow(noise, time, context)
    noise[0, 20] += 1.0
    changed = (flow(noise, time, context) - before).abs().amax((0, 2)) > 1e-6
    assert changed[20]
    assert changed.sum() > 8


def test_every_weight_learns(flow: DetailFlow, rng: torch.Generator) -> None:
    wake(flow)
    batch = (
        normal(flow, CHANNELS, rng),
        normal(flow, 2 * CHANNELS, rng),
        normal(flow, CHANNELS, rng),
        torch.tensor([0.3]),
    )
    flow_losses(flow, batch, 0)["loss"].backward()  # type: ignore[no-untyped-call]
    still = [name for name, p in flow.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_it_learns_that_cells_agree(flow: DetailFlow, rng: torch.Generator) -> None:
    """All cells of an anatomy share one sign, which no cell knows by itself."""
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    context = torch.zeros(8, flow.cells.numel(), 2 * CHANNELS)
    for _ in range(150):
        sign = torch.randint(2, (8, 1, 1), generator=rng) * 2.0 - 1
        target = sign.expand(-1, flow.cells.numel(), CHANNELS)
        batch = (target, context, normal(flow, CHANNELS, rng, 8), torch.rand(8, generator=rng))
        loss = flow_losses(flow, batch, 0)["loss"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    lean = torch.tensor([1.0, -1.0]).repeat(4)[:, None, None]
    drawn = flow.eval().draw(normal(flow, CHANNELS, rng, 8) + 0.5 * lean, context)
    agreement = drawn.mean((1, 2)) / drawn.abs().mean((1, 2))
    assert (lean.flatten() * agreement > 0.8).all()
