"""Learning how to draw: from which numbers, and what it leaves alone."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from seg_prior.config.optim import OptimConfig
from seg_prior.models.label_vae import LabelVAE, fit_residual_pca
from seg_prior.models.location import LocationPrior
from seg_prior.training import draws
from seg_prior.training.draws import Noised, codes_of, fit_draws, num_faces
from seg_prior.training.loop import Run
from tests.models import toy

CHANNELS = 6


@pytest.fixture
def maps(location: LocationPrior) -> list[Tensor]:
    """(V,) label indices of six anatomies."""
    return [toy.inside(location, labels)[0] for labels in toy.label_maps()]


@pytest.fixture
def vae(location: LocationPrior, maps: list[Tensor]) -> LabelVAE:
    """One with detail that starts from the maps' main surprises."""
    torch.manual_seed(0)
    vae = LabelVAE(location, toy.TINY.model_copy(update={"detail_channels": CHANNELS})).eval()
    vae.init_detail(fit_residual_pca(location, maps, CHANNELS))
    return vae


def test_codes_are_means_and_the_context_is_of_the_coarse_part(
    vae: LabelVAE, maps: list[Tensor]
) -> None:
    codes, other = (codes_of(vae, labels) for labels in maps[:2])
    num_cells = vae.location.cells.numel()
    assert codes.coarse.shape == (vae.num_coarse,)
    assert codes.detail.shape == (num_cells, CHANNELS)
    assert codes.context.shape == (num_cells, 2 * CHANNELS)
    with torch.no_grad():
        torch.testing.assert_close(vae.context(codes.coarse[None])[0], codes.context)
    # Where in the atlas a cell lies is the same of all maps; what is expected of it is not.
    assert torch.equal(codes.context[:, CHANNELS:], other.context[:, CHANNELS:])
    assert not torch.equal(codes.context[:, :CHANNELS], other.context[:, :CHANNELS])


def test_items_are_functions_of_seed_and_number() -> None:
    pairs = [(torch.full((4, 2), float(n)), torch.full((4, 4), float(n))) for n in range(3)]
    items, again, other = (Noised(pairs, seed, 50) for seed in (0, 0, 1))
    for n in (0, 7):
        assert all(torch.equal(a, b) for a, b in zip(items[n], again[n], strict=True))
        assert not torch.equal(items[n][2], other[n][2])
    assert {int(items[n][0][0, 0]) for n in range(50)} == {0, 1, 2}
    times = torch.stack([items[n][3] for n in range(50)])
    assert 0 <= times.min() < 0.2
    assert 0.8 < times.max() <= 1
    for target, context, _, _ in (items[n] for n in range(5)):
        assert target[0, 0] == context[0, 0]


def people(num: int) -> list[str]:
    return [f"sub-{n}" for n in range(num)]


def test_it_adds_field_and_flow_and_changes_nothing_else(
    vae: LabelVAE, maps: list[Tensor], tmp_path: Path
) -> None:
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    fit_draws(vae, maps, people(6), 3, 0, Run(tmp_path / "a", "cpu"))
    after = vae.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    first = {name: after[name].clone() for name in after.keys() - before.keys()}
    assert {name.partition(".")[0] for name in first} == {"coarse_field", "detail_flow"}
    fit_draws(vae, maps, people(6), 3, 0, Run(tmp_path / "b", "cpu"))
    again = vae.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())


def test_without_steps_a_flow_stays_what_it_was(
    vae: LabelVAE, maps: list[Tensor], tmp_path: Path
) -> None:
    fit_draws(vae, maps, people(6), 2, 0, Run(tmp_path, "cpu"))
    flow, vae.coarse_field = vae.detail_flow, None
    fit_draws(vae, maps, people(6), 0, 0, Run(tmp_path, "cpu"))
    assert vae.detail_flow is flow
    assert vae.coarse_field is not None


def test_of_two_people_there_is_no_field(vae: LabelVAE, maps: list[Tensor], tmp_path: Path) -> None:
    fit_draws(vae, maps[:4], 2 * people(2), 0, 0, Run(tmp_path, "cpu"))
    assert vae.coarse_field is None


def test_the_field_is_that_of_the_maps_codes(
    vae: LabelVAE, maps: list[Tensor], tmp_path: Path
) -> None:
    fit_draws(vae, maps, people(6), 0, 0, Run(tmp_path, "cpu"))
    assert vae.coarse_field is not None
    means = torch.stack([codes_of(vae, labels).coarse for labels in maps])
    drawn = torch.cat([vae.sample(torch.Generator().manual_seed(n), True) for n in range(200)])
    assert not drawn[:, vae.num_coarse :].any()
    drawn = drawn[:, : vae.num_coarse]
    assert float((drawn.mean(0) - means.mean(0)).abs().mean() / means.std(0).mean()) < 0.2
    spread = float(drawn.std(0).square().mean() / means.std(0).square().mean())
    assert 0.5 < spread < 2


def test_draws_have_the_coarse_part_of_the_field_and_detail_of_the_flow(
    vae: LabelVAE, maps: list[Tensor], tmp_path: Path
) -> None:
    def drawn(is_coarse: bool = False) -> Tensor:
        return vae.sample(torch.Generator().manual_seed(1), is_coarse)

    fit_draws(vae, maps, people(6), 0, 0, Run(tmp_path, "cpu"))
    alone, smooth = drawn(), drawn(is_coarse=True)
    fit_draws(vae, maps, people(6), 2, 0, Run(tmp_path, "cpu"))
    together = drawn()
    coarse = slice(vae.num_coarse)
    assert torch.equal(together[:, coarse], alone[:, coarse])
    assert torch.equal(smooth[:, coarse], alone[:, coarse])
    assert not smooth[:, vae.num_coarse :].any()
    assert torch.equal(drawn(is_coarse=True), smooth)
    assert not torch.equal(together, alone)
    assert together.shape == alone.shape


@pytest.mark.parametrize("loudness", [0.3, 3.0])
def test_draws_are_as_rough_as_maps(
    vae: LabelVAE, maps: list[Tensor], tmp_path: Path, loudness: float
) -> None:
    """Whatever the scale of the detail was, and to which side it was wrong."""
    with torch.no_grad():
        vae.decoder.detail_to_logits.weight.mul_(loudness)
    fit_draws(vae, maps, people(6), 2, 0, Run(tmp_path, "cpu"))
    assert vae.detail_flow is not None
    location = vae.location

    def faces_of_draws() -> int:
        found = 0
        for n, labels in enumerate(maps):
            coarse = codes_of(vae, labels).coarse[None]
            noise = torch.randn(
                1, vae.num_latents - vae.num_coarse, generator=torch.Generator().manual_seed(n)
            )
            z = torch.cat([coarse, vae.detail_of(coarse, noise)], dim=1)
            with torch.no_grad():
                log_prior = location.log_by_group(vae.decode(z))
            found += num_faces(location.map_of(log_prior))
        return found

    wanted = sum(num_faces(location.scatter(labels[None, None].int(), 0)[0, 0]) for labels in maps)
    found = faces_of_draws()
    assert found == pytest.approx(wanted, rel=0.1)
    vae.detail_flow.gain.fill_(1.0)
    assert abs(found - wanted) < abs(faces_of_draws() - wanted)


def test_faces_lie_between_voxels_of_unlike_labels() -> None:
    label_map = torch.zeros(3, 3, 3, dtype=torch.uint8)
    label_map[1, 1, 1] = 255
    assert num_faces(label_map) == 6
    label_map[1, 1, 2] = 2
    assert num_faces(label_map) == 6 + 4


def test_processes_share_the_batch(
    vae: LabelVAE, maps: list[Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[OptimConfig] = []
    monkeypatch.setattr(draws, "train", lambda *given: asked.append(given[3]))
    monkeypatch.setattr(draws, "draw_log", lambda folder: None)
    num_cells = vae.location.cells.numel()
    for processes, cells, wanted in (
        (1, 1, 1),
        (3, 1, 3),
        (1, 5 * num_cells, 5),
        (2, 5 * num_cells, 4),
    ):
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        monkeypatch.setattr(draws, "CELLS_A_STEP", cells)
        fit_draws(vae, maps[:1], people(1), 7, 0, Run(tmp_path, "cpu"))
        assert (asked[-1].batch_size, asked[-1].steps) == (wanted, 7)
