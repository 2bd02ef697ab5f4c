"""Painted images: what the paint says, class by class, and where nothing was measured."""

import numpy as np
import pytest
import torch
from torch import Tensor

from seg_prior.config.synthesis import AugmentConfig, PaintConfig
from seg_prior.models.location import LocationPrior
from seg_prior.synthesis.anatomies import AlignedLabelMap, RandomAnatomies, generator_of
from seg_prior.synthesis.render import PaintedAnatomies, paint
from tests.models import toy

PLAIN = PaintConfig(
    max_label_sd=0,
    max_sd=0,
    background_sd=0,
    blur_sd_voxels=(0.0, 0.0),
    max_log_bias=0,
    max_noise=0,
    thick_share=0,
    stripped_share=0,
)


@pytest.fixture
def labels(location: LocationPrior) -> Tensor:
    """(V,)."""
    return toy.inside(location, toy.label_map())[0]


def test_plain_paint_is_one_value_a_class(location: LocationPrior, labels: Tensor) -> None:
    image, observed = paint(labels, location, toy.CLASSES, PLAIN, generator_of(0, 0))
    of_class = toy.CLASSES.class_of_label[labels.long()]
    values = [image[of_class == c] for c in range(3)]
    for found in values:
        assert float(found.max() - found.min()) < 1e-6
        assert 0 <= float(found[0]) <= 1
    assert len({round(float(found[0]), 4) for found in values}) == 3
    assert observed.all()


def test_background_alone_changes_from_place_to_place(
    location: LocationPrior, labels: Tensor
) -> None:
    config = PLAIN.model_copy(update={"background_sd": 0.3})
    image, _ = paint(labels, location, toy.CLASSES, config, generator_of(0, 0))
    assert float(image[labels == 0].std()) > 0.1
    assert float(image[labels == toy.CORE].std()) < 1e-6


def test_labels_of_a_class_differ_by_the_stated_spread(
    location: LocationPrior, labels: Tensor
) -> None:
    config = PLAIN.model_copy(update={"max_label_sd": 0.06})
    gaps = []
    for n in range(60):
        image, _ = paint(labels, location, toy.CLASSES, config, generator_of(1, n))
        gaps.append(float(image[labels == toy.LEFT].mean() - image[labels == toy.RIGHT].mean()))
    assert np.std(gaps) == pytest.approx(0.06 / 3**0.5 * 2**0.5, rel=0.3)


def test_thick_slices_smear_along_one_axis_alone(location: LocationPrior, labels: Tensor) -> None:
    """Plain paint, then slices: one of three axes loses its steps, the others keep them."""
    config = PLAIN.model_copy(update={"thick_share": 1.0, "max_slice_voxels": 4.0})
    plain, _ = paint(labels, location, toy.CLASSES, PLAIN, generator_of(0, 0))
    thick, _ = paint(labels, location, toy.CLASSES, config, generator_of(0, 0))
    before = location.scatter(plain[None, None], 0.0)[0, 0]
    after = location.scatter(thick[None, None], 0.0)[0, 0]
    kept = [float(after.diff(dim=a).abs().max() / before.diff(dim=a).abs().max()) for a in range(3)]
    assert sorted(kept)[0] < 0.9
    assert sorted(kept)[1] > 0.9


def test_stripped_images_show_the_anatomy_alone(location: LocationPrior, labels: Tensor) -> None:
    config = PaintConfig(stripped_share=1.0)
    image, observed = paint(labels, location, toy.CLASSES, config, generator_of(0, 3))
    assert set(observed.tolist()) == {0.0, 1.0}
    assert not image[observed == 0].any()
    assert observed[(labels == toy.CORE) | (labels == toy.LEFT)].all()
    assert observed[labels == 0].mean() < 0.5
    assert observed[labels > 0].mean() > 0.85


def test_an_item_is_painted_from_the_item_of_its_anatomies(location: LocationPrior) -> None:
    maps = [AlignedLabelMap(m, toy.grid(), np.eye(4)) for m in toy.label_maps()]
    anatomies = RandomAnatomies(
        maps, toy.grid(), location.voxels, toy.table().partner, AugmentConfig(), 0, 5, 10
    )
    painted = PaintedAnatomies(anatomies, location, toy.CLASSES, PaintConfig())
    image, observed, labels = painted[4]
    assert len(painted) == 10
    assert torch.equal(labels, anatomies[4][0])
    assert image.shape == observed.shape == labels[None].shape
    assert image.dtype == observed.dtype == torch.float32
    for a, b in zip(painted[4], (image, observed, labels), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(image, painted[5][0])
