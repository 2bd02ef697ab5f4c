"""What a network adds to f(z), at half voxels of prior space."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from seg_prior.config.networks import OffsetConfig, ReaderConfig
from seg_prior.core.grid import Grid
from seg_prior.inference import posterior
from seg_prior.inference.correction import Correction, FinePrior, correct, offset_of, parts_of
from seg_prior.inference.posterior import LogPrior, find_native_voxels, log_joints, summarise
from seg_prior.models.image_reader import ImageReader
from seg_prior.models.location import LocationPrior, rows_of_log_prior
from seg_prior.models.reader_input import FineImage, ReaderSpace, fold
from tests.models import toy

FINE: Grid = toy.grid().halved()


def none(location: LocationPrior) -> torch.Tensor:
    """(V, 8, L) residuals of a network that corrects nothing."""
    return torch.zeros(location.voxels.numel(), 8, toy.NUM_LABELS)


class Says:
    """A reader that says of each voxel what it was told to."""

    def __init__(self, residual: torch.Tensor) -> None:
        self.residual = residual  # (V, 8, L)

    def residual_of_labels(
        self, group_of_label: torch.Tensor
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda rows: self.residual[rows[:, 0]][..., group_of_label]


def adding(residual: torch.Tensor, location: LocationPrior) -> FinePrior:
    prior = rows_of_log_prior(location.log_prob.half(), location)
    numbers = torch.arange(len(residual))[:, None]
    correction = Correction(
        residual.mean(1).T.half(), numbers, None, prior, torch.zeros(toy.NUM_LABELS)
    )
    return FinePrior(Says(residual), location, correction)


def everywhere(location: LocationPrior, prior: LogPrior) -> torch.Tensor:
    """(N,) likeliest label of the prior alone at the centres of half voxels in the mask."""
    where = find_native_voxels(location, toy.grid(), FINE, torch.ones(FINE.shape).bool())
    seen = torch.ones(1, math.prod(FINE.shape))
    joints = log_joints(prior, location, where, seen, seen > 0, None)
    best = torch.zeros(math.prod(FINE.shape), dtype=torch.uint8)
    best[where.index] = summarise(joints, toy.NUM_LABELS).best
    return best


def test_parts_are_the_half_voxels_of_their_voxel_in_the_order_of_fold(
    location: LocationPrior,
) -> None:
    numbers = torch.arange(math.prod(FINE.shape)).view(1, *FINE.shape)
    expected = fold(numbers).flatten(1)[:, location.voxels].T
    assert torch.equal(parts_of(location).view(-1, 8), expected)


def test_adding_nothing_changes_nothing(location: LocationPrior) -> None:
    log_prior = location.log_prob[None]
    nothing = adding(none(location), location).correction
    torch.testing.assert_close(nothing.corrected(log_prior.clone(), location), log_prior)


def test_a_half_voxel_takes_the_label_that_is_added_there(location: LocationPrior) -> None:
    residual = none(location)
    residual[:, 3, toy.CORE] = 50.0  # of each voxel one part
    found = everywhere(location, adding(residual, location))
    assert (found[parts_of(location).view(-1, 8)[:, 3]] == toy.CORE).all()
    assert not torch.equal(found, everywhere(location, adding(none(location), location)))


def test_slabs_read_what_the_whole_says(
    location: LocationPrior, rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = adding(3 * torch.randn(none(location).shape, generator=rng), location)
    whole = everywhere(location, prior)
    monkeypatch.setattr(posterior, "_PLANES", 4)
    where = find_native_voxels(location, toy.grid(), FINE, torch.ones(FINE.shape).bool())
    assert len(where.sizes) == 4
    assert min(where.sizes) > 0
    assert torch.equal(everywhere(location, prior), whole)


def test_a_correction_is_normalised_where_em_needs_it(
    location: LocationPrior, rng: torch.Generator
) -> None:
    residual = torch.randn(none(location).shape, generator=rng)
    correction, log_prior = adding(residual, location).correction, location.log_prob[None].clone()
    corrected = correction.corrected(log_prior, location)
    torch.testing.assert_close(corrected.exp().sum(1), torch.ones(1, location.voxels.numel()))
    more = corrected[0] - location.log_prob
    expected = residual.mean(1).T
    torch.testing.assert_close(more - more[:1], expected - expected[:1], atol=2e-3, rtol=0)


def test_planes_hold_what_the_whole_holds(location: LocationPrior, rng: torch.Generator) -> None:
    residual = torch.randn(none(location).shape, generator=rng)
    prior = adding(residual, location)
    whole = prior.in_planes(range(FINE.shape[0]))
    place = torch.rand(500, 3, generator=rng) * torch.tensor([4.0, *FINE.shape[1:]])
    place[:, 0] += 8.5  # of planes 8 to 12, between those that are made
    part = prior.in_planes(range(8, 14))
    assert len(part.rows) < len(whole.rows)
    torch.testing.assert_close(part.at(place), whole.at(place))


@pytest.mark.parametrize("is_trained", [False, True])
def test_an_untrained_network_corrects_nothing(location: LocationPrior, is_trained: bool) -> None:
    intensities = toy.gaussians([0.1, 0.9, 0.5], [0.01] * 3)
    space = ReaderSpace.of(location, toy.CLASSES)
    torch.manual_seed(0)
    form = ReaderConfig(widths=(8, 8, 8, 16), num_blocks=(1, 1, 1, 1))
    reader = ImageReader(space.num_inputs, toy.NUM_LABELS, form).eval()
    if is_trained:
        torch.nn.init.normal_(reader.head.weight)
    image = toy.paint(
        toy.label_map().repeat_interleave(2, 0).repeat_interleave(2, 1).repeat_interleave(2, 2)
    )[None]
    seen = FineImage(image, torch.ones_like(image))
    rows = rows_of_log_prior(location.log_prob.half(), location)
    nothing = torch.zeros(toy.NUM_LABELS)
    correction = correct(reader, location, seen, rows, intensities, nothing)
    prior = FinePrior(reader, location, correction)
    assert prior.shape == FINE.shape
    assert bool(correction.mean.any()) == is_trained
    if not is_trained:  # f(z), read between its voxels
        is_same = everywhere(location, prior) == everywhere(location, location.rows)
        assert is_same.float().mean() > 0.99
    # Of missing data it says nothing, of the rest what it says anyway.
    half = torch.zeros(FINE.shape, dtype=torch.bool)
    half[: FINE.shape[0] // 2] = True
    is_ignored = half.flatten()[parts_of(location)].view(-1, 8)[:, 0]
    hidden = replace(seen, ignored=half)
    blind = correct(reader, location, hidden, rows, intensities, nothing)
    assert not blind.mean[:, is_ignored].any()
    torch.testing.assert_close(blind.mean[:, ~is_ignored], correction.mean[:, ~is_ignored])


def test_an_offset_is_added_everywhere_and_fades_as_its_gauge_grows(
    location: LocationPrior,
) -> None:
    log_prior, table = location.log_prob[None], toy.table()
    mass = location.log_prob.exp().sum(1)
    share = float(mass[toy.CORE] / mass[1:].sum())
    left, core = table.labels[toy.LEFT].id, table.labels[toy.CORE].id

    def due(*fades: float, gauge: tuple[int, ...] = (core,)) -> list[float]:
        config = OffsetConfig(nats={left: -2.0}, gauge_ids=gauge, fades=fades)
        return offset_of(config, table, location, log_prior).tolist()

    def only_left(nats: float) -> list[float]:
        return pytest.approx([nats if n == toy.LEFT else 0.0 for n in range(toy.NUM_LABELS)])

    assert due(share, 1.0) == only_left(-2.0)
    assert due(0.0, share) == only_left(0.0)
    assert due(0.5 * share, 1.5 * share) == only_left(-1.0)
    assert due(0.0, share, gauge=()) == only_left(-2.0)
    assert not offset_of(None, table, location, log_prior).any()


def test_an_offset_is_told_by_the_correction(location: LocationPrior) -> None:
    space, intensities = (
        ReaderSpace.of(location, toy.CLASSES),
        toy.gaussians([0.1, 0.9, 0.5], [0.01] * 3),
    )
    reader = ImageReader(space.num_inputs, toy.NUM_LABELS, ReaderConfig(widths=(8, 8, 8, 8))).eval()
    image = torch.rand(1, *FINE.shape, generator=torch.Generator().manual_seed(0))
    seen = FineImage(image, torch.ones_like(image))
    nats = torch.arange(toy.NUM_LABELS).float()
    found = correct(reader, location, seen, location.rows, intensities, nats)
    torch.testing.assert_close(found.mean.float(), nats[:, None].expand_as(found.mean))
    planes = range(FINE.shape[0])
    with_offset, without = (
        FinePrior(reader, location, replace(found, offset=offset)).in_planes(planes).rows[:-1]
        for offset in (nats, 0 * nats)
    )
    torch.testing.assert_close(
        (with_offset - without).float(), nats.expand_as(without), atol=1e-2, rtol=0
    )


def test_fades_that_do_not_rise_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"0\.4 to 0\.4, need a first below"):
        OffsetConfig(fades=(0.4, 0.4))
