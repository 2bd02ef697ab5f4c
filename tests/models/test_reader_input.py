"""What the image reader sees."""

import pytest
import torch

from seg_prior.models.likelihood import class_log_likelihood, tabulated_class_log_likelihood
from seg_prior.models.location import LocationPrior
from seg_prior.models.reader_input import FineImage, ReaderSpace, features, fold, moments, on_grid
from tests.models import toy


def fine_image(rng: torch.Generator) -> FineImage:
    shape = (1, *[2 * side for side in toy.SHAPE])
    image = torch.rand(shape, generator=rng)
    weight = torch.ones(shape)
    weight[:, :6] = 0.0
    return FineImage(image * weight, weight)


def test_the_eight_parts_of_a_voxel_lie_side_by_side() -> None:
    axes = torch.meshgrid(*[torch.arange(n) for n in (4, 6, 8)], indexing="ij")
    folded = fold(torch.stack(axes))
    assert folded.shape == (24, 2, 3, 4)
    assert folded[:, 1, 2, 3].view(3, 8).amin(1).tolist() == [2, 4, 6]
    assert folded[:, 1, 2, 3].view(3, 8).T.tolist()[5] == [3, 4, 7]


def test_a_part_is_seen_like_the_whole(location: LocationPrior, rng: torch.Generator) -> None:
    """Training looks at boxes, inference at slabs of everything."""
    space = ReaderSpace.of(location, toy.CLASSES)
    intensities = toy.gaussians([0.1, 0.9, 0.5], [0.02] * 3)
    seen = fine_image(rng)
    log_prior = on_grid(location, location.log_prob[None])[0]
    scale = moments(space, seen)
    everything = (slice(0, 16), slice(0, 16), slice(0, 24))
    whole = features(space, seen, log_prior, intensities, scale, everything)
    assert whole.shape == (1, space.num_inputs, *toy.SHAPE)
    box = (slice(4, 12), slice(0, 8), slice(8, 16))
    part = features(space, seen.at(box), log_prior[:, *box], intensities, scale, box)
    torch.testing.assert_close(part, whole[:, :, *box], atol=2e-2, rtol=0)  # by table or not


def test_an_affine_change_of_intensities_is_not_seen(
    location: LocationPrior, rng: torch.Generator
) -> None:
    space, seen = ReaderSpace.of(location, toy.CLASSES), fine_image(rng)
    log_prior = on_grid(location, location.log_prob[None])[0]
    everything = (slice(0, 16), slice(0, 16), slice(0, 24))
    channels = []
    for gain, shift in ((1.0, 0.0), (0.4, 0.3)):
        image = (gain * seen.image + shift) * (seen.weight > 0)
        intensities = toy.gaussians(
            [gain * m + shift for m in (0.1, 0.9, 0.5)], [0.02 * gain**2] * 3
        )
        changed = FineImage(image, seen.weight)
        scale = moments(space, changed)
        channels.append(features(space, changed, log_prior, intensities, scale, everything))
    torch.testing.assert_close(channels[0], channels[1], atol=2e-2, rtol=0)


@pytest.mark.parametrize("classes", [toy.CLASSES, toy.MIXED])
def test_the_table_of_a_likelihood_is_the_likelihood(
    classes: toy.IntensityClasses, rng: torch.Generator
) -> None:
    image = 5 * torch.rand(1, 1, 40_000, generator=rng) - 1
    observed = (torch.rand(1, 1, 40_000, generator=rng) > 0.2).float()
    count = classes.tie_of_component.numel()
    intensities = toy.gaussians(
        torch.linspace(0, 1, count).tolist(), torch.linspace(0.002, 0.05, count).tolist(), classes
    )
    direct = class_log_likelihood(image, observed, intensities)
    looked_up = tabulated_class_log_likelihood(image, observed, intensities)
    torch.testing.assert_close(looked_up, direct, atol=0.05, rtol=1e-3)
    assert not looked_up[:, :, observed[0, 0] == 0].any()
