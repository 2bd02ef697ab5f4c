"""Random views of scans: image and labels move as one, and item n depends on the seed and n."""

import torch

from seg_prior.training.seen_scans import RandomViews, SeenScan, repaint
from tests.models import toy


def scans() -> list[SeenScan]:
    """Two anatomies in fields of view of different shape."""
    made = []
    for labels in toy.label_maps()[:2]:
        one_hot = torch.nn.functional.one_hot(labels.long(), toy.NUM_LABELS).movedim(-1, 0)
        pair = torch.stack([toy.paint(labels), torch.ones(toy.SHAPE)])
        made.append(SeenScan(pair.half(), one_hot.half()))
    smaller = made[1]
    return [made[0], SeenScan(smaller.pair[:, :, :8], smaller.labels[:, :, :8])]


def test_an_item_is_a_function_of_seed_and_number() -> None:
    views, again, other = RandomViews(scans(), 3, 9), RandomViews(scans(), 3, 9), None
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
