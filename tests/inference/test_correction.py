"""What a network adds to f(z), at half voxels of prior space."""

import math

import pytest
import torch

from seg_prior.config.networks import ReaderConfig
from seg_prior.core.grid import Grid
from seg_prior.inference.correction import Correction, correct, parts_of
from seg_prior.inference.posterior import find_native_voxels, log_joints, summarise
from seg_prior.models.image_reader import ImageReader
from seg_prior.models.location import LocationPrior
from seg_prior.models.reader_input import FineImage, ReaderSpace, fold
from tests.models import toy

FINE: Grid = toy.grid().halved()


def none(location: LocationPrior) -> torch.Tensor:
    return torch.zeros(toy.NUM_LABELS, location.voxels.numel(), 8, dtype=torch.float16)


def everywhere(location: LocationPrior, correction: Correction | None) -> torch.Tensor:
    """(N,) likeliest label of the prior alone at the centres of half voxels in the mask."""
    shape = FINE.shape
    where = find_native_voxels(location, toy.grid(), FINE, torch.ones(shape, dtype=torch.bool))
    log_prior = location.log_prob[None]
    if correction is not None:
        log_prior = correction.corrected(log_prior, location)
    seen = torch.ones(1, where.index.numel())
    joints = log_joints(log_prior, location, where, seen, seen, None, correction=correction)
    best = torch.zeros(math.prod(shape), dtype=torch.uint8)
    best[where.index] = summarise(joints).best
    return best


def test_parts_are_the_half_voxels_of_their_voxel_in_the_order_of_fold(
    location: LocationPrior,
) -> None:
    numbers = torch.arange(math.prod(FINE.shape)).view(1, *FINE.shape)
    expected = fold(numbers).flatten(1)[:, location.voxels].T
    assert torch.equal(parts_of(location).view(-1, 8), expected)


def test_adding_nothing_changes_nothing(location: LocationPrior) -> None:
    nothing = Correction(none(location))
    log_prior = location.log_prob[None]
    torch.testing.assert_close(nothing.corrected(log_prior, location), log_prior)
    found = everywhere(location, nothing)
    assert (found == everywhere(location, None)).float().mean() > 0.999


def test_a_half_voxel_takes_the_label_that_is_added_there(location: LocationPrior) -> None:
    residual = none(location)
    residual[toy.CORE, :, 3] = 50.0  # of each voxel one part
    found = everywhere(location, Correction(residual))
    assert (found[parts_of(location).view(-1, 8)[:, 3]] == toy.CORE).all()
    residual[toy.CORE] = 0.0
    assert not torch.equal(found, everywhere(location, Correction(residual)))


def test_a_correction_is_normalised_where_em_needs_it(
    location: LocationPrior, rng: torch.Generator
) -> None:
    residual = torch.randn(none(location).shape, generator=rng).half()
    corrected = Correction(residual).corrected(location.log_prob[None], location)
    torch.testing.assert_close(corrected.exp().sum(1), torch.ones(1, location.voxels.numel()))
    more = corrected[0] - location.log_prob
    expected = residual.float().mean(2)
    torch.testing.assert_close(more - more[:1], expected - expected[:1], atol=1e-4, rtol=0)


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
    correction = correct(reader, location, seen, location.log_prob[None], intensities)
    assert correction.residual.shape == (toy.NUM_LABELS, location.voxels.numel(), 8)
    assert bool(correction.residual.any()) == is_trained
