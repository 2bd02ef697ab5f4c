"""Random views of scans: image and labels move as one, and item n depends on the seed and n."""

import numpy as np
import torch
from scipy import ndimage

from seg_prior.training.locator_dataset import (
    PseudoLabelledScan,
    RandomViews,
    _moved,
    repaint,
)
from tests.models import toy


def scans() -> list[PseudoLabelledScan]:
    """Three anatomies, one in a narrower field of view."""
    made = []
    for labels in toy.label_maps()[:3]:
        one_hot = torch.nn.functional.one_hot(labels.long(), toy.NUM_LABELS).movedim(-1, 0)
        pair = torch.stack([toy.paint(labels), torch.ones(toy.SHAPE)])
        made.append(PseudoLabelledScan(pair.half(), one_hot.half()))
    narrow = PseudoLabelledScan(made[1].pair[:, :, 4:12], made[1].labels[:, :, 4:12])
    return [made[0], narrow, made[2]]


def test_an_item_is_a_function_of_seed_and_number() -> None:
    views, again = RandomViews(scans(), 3, 9), RandomViews(scans(), 3, 9)
    for item in (0, 8):
        for one, two in zip(views[item], again[item], strict=True):
            assert torch.equal(one, two)
    other = RandomViews(scans(), 4, 9)
    assert not torch.equal(views[0][0], other[0][0])
    assert not torch.equal(views[0][0], views[1][0])


def test_views_share_a_shape_and_labels_sum_to_one() -> None:
    views = RandomViews(scans(), 0, 12)
    for item in range(12):
        image, labels = views[item]
        assert image.shape == (2, *toy.SHAPE)
        assert labels.shape == (toy.NUM_LABELS, *toy.SHAPE)
        torch.testing.assert_close(labels.sum(0), torch.ones(toy.SHAPE), atol=2e-3, rtol=0)


def test_a_move_is_what_an_affine_about_the_middle_makes_of_it() -> None:
    """Against an independent resampling, between grids of different and unequal sides."""
    rng = np.random.default_rng(0)
    source, target = (24, 16, 40), (32, 24, 48)
    image = ndimage.gaussian_filter(rng.random(source), 2.0)
    structure = ndimage.gaussian_filter(rng.random(source), 2.0)
    pair = torch.from_numpy(np.stack([image, np.ones(source)])).float()
    labels = torch.from_numpy(np.stack([1 - structure, structure])).float()
    affine = np.eye(4)
    affine[:3, :3] += rng.normal(0, 0.15, (3, 3))
    affine[:3, 3] = 1.5, -2.0, 3.0
    moved, found = _moved(
        PseudoLabelledScan(pair, labels), torch.from_numpy(affine).float(), target
    )
    from_middle = np.indices(target).reshape(3, -1) - (np.array(target)[:, None] - 1) / 2
    where = affine[:3, :3] @ from_middle + affine[:3, 3:] + (np.array(source)[:, None] - 1) / 2
    inside = ((where > 0) & (where < np.array(source)[:, None] - 1)).all(0).reshape(target)
    assert inside.mean() > 0.2
    for values, result in ((image, moved[0]), (structure, found[1])):
        expected = ndimage.map_coordinates(values, where, order=1).reshape(target)
        np.testing.assert_allclose(result.numpy()[inside], expected[inside], atol=1e-4)


def test_the_rim_of_the_field_of_view_keeps_its_brightness() -> None:
    observed = torch.zeros(16, 16, 16)
    observed[3:13, 3:13, 3:13] = 1.0
    observed[3] = observed[4] * 0.6  # a voxel that is seen in part
    pair = torch.stack([0.5 * (observed > 0), observed])
    labels = torch.ones(1, 16, 16, 16)
    half = torch.eye(4)
    half[:3, 3] = 0.5
    image, in_view = _moved(PseudoLabelledScan(pair, labels), half, (16, 16, 16))[0]
    seen = image[in_view > 0.5]
    torch.testing.assert_close(seen, torch.full_like(seen, 0.5), atol=1e-5, rtol=0)


def test_image_and_labels_move_as_one() -> None:
    """Under every label the view holds that label's intensities, in their order."""
    views = RandomViews(scans()[:1], 0, 6)
    for item in range(6):
        (image, in_view), labels = views[item]
        core = (labels[toy.CORE] > 0.9) & (in_view > 0)
        shell = (labels[toy.SHELL] > 0.9) & (in_view > 0)
        outside = (labels[0] > 0.99) & (in_view > 0)
        means = [float(image[where].mean()) for where in (outside, core, shell)]
        assert means == sorted(means)
        assert means[0] < means[1] - 0.3


def test_views_differ_in_place_and_size() -> None:
    views = RandomViews(scans()[:1], 0, 40)
    sizes = torch.tensor([float(1 - views[item][1][0].mean()) for item in range(40)])
    assert 0.05 < float(sizes.std() / sizes.mean()) < 0.6


def test_repainting_keeps_order_but_not_values(rng: torch.Generator) -> None:
    ramp = torch.linspace(0, 1, 24).expand(16, 16, 24)
    painted = repaint(ramp, rng)
    assert (painted - ramp).abs().mean() > 0.01
    assert float(torch.corrcoef(torch.stack([painted.flatten(), ramp.flatten()]))[0, 1]) > 0.8
