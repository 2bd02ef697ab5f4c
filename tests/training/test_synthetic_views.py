"""Views of synthetic scans in random poses: of one shape in a batch, and functions of n."""

from pathlib import Path

import pytest
import torch

from seg_prior.checkpoints.file import load_model
from seg_prior.config.optim import OptimConfig
from seg_prior.config.synthesis import SynthesisConfig
from seg_prior.training.synthetic_views import SyntheticViews


@pytest.fixture
def views(phantom_folder: Path, tiny_prior: Path) -> SyntheticViews:
    maps, optim = sorted(phantom_folder.glob("*_dseg.nii.gz")), OptimConfig(steps=4, batch_size=2)
    return SyntheticViews.of(maps, load_model(tiny_prior), SynthesisConfig(), 8.0, 0, optim)


def test_a_view_is_a_function_of_its_number(views: SyntheticViews) -> None:
    assert len(views) == 8
    late = views[7]
    first, second = views[0], views[1]
    assert first[0].shape == second[0].shape
    assert not torch.equal(first[0], second[0])
    for one, two in zip(late, views[7], strict=True):
        assert torch.equal(one, two)


def test_labels_are_shares_of_what_is_seen(views: SyntheticViews) -> None:
    image, labels = views[2]
    torch.testing.assert_close(labels.sum(0), torch.ones(labels.shape[1:]))
    assert labels[1:].sum() > 10
    assert not image[0][image[1] == 0].any()
