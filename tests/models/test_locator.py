"""The network that sees labels in an image's own space."""

import pytest
import torch

from seg_prior.config.networks import LocatorConfig
from seg_prior.models.locator import Locator, standardised
from tests.models import toy

TINY = LocatorConfig(spacing_mm=toy.SPACING_MM, widths=(8, 16, 16))


def test_what_is_seen_has_mean_zero_and_deviation_one_in_view(rng: torch.Generator) -> None:
    image = 0.2 + 0.1 * torch.rand(8, 8, 8, generator=rng)
    observed = torch.ones(8, 8, 8)
    observed[:2], image[:2] = 0.0, 77.0
    seen, in_view = standardised(image, observed)
    assert torch.equal(in_view, observed)
    assert not seen[:2].any()
    assert float(seen[2:].mean()) == pytest.approx(0, abs=1e-5)
    assert float(seen[2:].std(correction=0)) == pytest.approx(1, abs=1e-5)
    rescaled, _ = standardised(0.5 * image + 0.1, observed)
    torch.testing.assert_close(rescaled[2:], seen[2:], atol=1e-4, rtol=0)


def test_a_constant_image_is_seen_as_nothing() -> None:
    seen, _ = standardised(torch.full((8, 8, 8), 0.4), torch.ones(8, 8, 8))
    assert seen.abs().max() < 1e-3


def test_every_voxel_of_a_cell_has_its_own_place() -> None:
    """A network that says the same of every cell: its eight answers lie as the voxels do."""
    network = Locator(2, TINY)
    last = network.head[-1]
    assert isinstance(last, torch.nn.Conv3d)
    assert last.bias is not None
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
        last.bias[8:] = torch.arange(8.0)  # of label 1
        log_prob = network(torch.zeros(1, 2, 8, 16, 24))
    assert log_prob.shape == (1, 2, 8, 16, 24)
    torch.testing.assert_close(log_prob.exp().sum(1), torch.ones(1, 8, 16, 24))
    logits = (log_prob[:, 1] - log_prob[:, 0])[0]
    axes = torch.meshgrid(*[torch.arange(n) % 2 for n in logits.shape], indexing="ij")
    torch.testing.assert_close(logits, (4 * axes[0] + 2 * axes[1] + axes[2]).float())


def test_it_learns_where_labels_lie() -> None:
    labels = toy.label_map(shift=1.0)
    image = standardised(toy.paint(labels), torch.ones(toy.SHAPE))[None]
    torch.manual_seed(0)
    network = Locator(toy.NUM_LABELS, TINY)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(150):
        loss = torch.nn.functional.nll_loss(network(image), labels[None].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = network(image).argmax(1)[0]
    for label in (toy.SHELL, toy.CORE):
        both = ((found == label) & (labels == label)).sum()
        assert 2 * both / ((found == label).sum() + (labels == label).sum()) > 0.7
