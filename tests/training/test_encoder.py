"""Synthetic scans that the encoder learns from: on the anatomy mask, and items that are pure."""

from pathlib import Path

import pytest
import torch

from seg_prior.checkpoints.file import load_model
from seg_prior.config.training import EncoderConfig
from seg_prior.training.encoder import SyntheticScans


@pytest.fixture
def scans(phantom_folder: Path, tiny_prior: Path) -> SyntheticScans:
    config = EncoderConfig(pretrain={"steps": 5, "batch_size": 2})  # type: ignore[arg-type]
    maps = sorted(phantom_folder.glob("*_dseg.nii.gz"))
    return SyntheticScans(maps, load_model(tiny_prior), config)


def test_an_item_is_a_scan_on_the_anatomy_mask(scans: SyntheticScans, tiny_prior: Path) -> None:
    location = load_model(tiny_prior).location
    assert len(scans) == 10
    image, observed, labels = scans[3]
    assert image.shape == observed.shape == (1, location.voxels.numel())
    assert labels.shape == observed.shape[1:]
    assert labels.dtype == torch.uint8
    assert set(observed.unique().tolist()) <= {0.0, 1.0}
    assert not image[observed == 0].any()
    # The anatomy lies where the prior expects it.
    expected = location.likeliest(location.log_prob[None])[0]
    assert float((expected == labels).float().mean()) > 0.5


def test_an_item_is_a_function_of_its_number(scans: SyntheticScans) -> None:
    for one, two in zip(scans[4], scans[4], strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(scans[4][0], scans[5][0])
