"""Synthetic scans as the prior reads them: kept in files, and made of what they say."""

from pathlib import Path

import numpy as np
import pytest
import torch

from seg_prior.checkpoints.file import load_model
from seg_prior.config.synthesis import AugmentConfig, SynthesisConfig
from seg_prior.errors import ConfigError
from seg_prior.models.location import LocationPrior
from seg_prior.training.readings import (
    Spread,
    forget_readings,
    load_reading,
    make_readings,
    packed,
    unpacked,
)

SPREAD = Spread(AugmentConfig(), SynthesisConfig())


def test_log_probabilities_fit_into_bytes(location: LocationPrior) -> None:
    log_prior = location.log_prob.clamp_min(-12)
    torch.testing.assert_close(unpacked(packed(log_prior)), log_prior, atol=12 / 255, rtol=0)


def test_a_reading_is_what_was_drawn_and_is_made_once(
    phantom_folder: Path, tiny_prior: Path, tmp_path: Path
) -> None:
    maps = sorted(phantom_folder.glob("*_dseg.nii.gz"))[:2]
    folder = tmp_path / "readings"
    paths = make_readings(maps, tiny_prior, SPREAD, folder, 2)
    reading = load_reading(paths[1])
    model = load_model(tiny_prior)
    assert reading.image.shape == model.header.grid.halved().shape
    assert not reading.image[~reading.in_view].any()
    assert set(np.unique(reading.labels)) <= set(range(len(model.header.label_table.written)))
    assert torch.isfinite(reading.mean).all()
    assert (reading.var > 0).all()
    made = {path: path.stat().st_mtime_ns for path in paths}
    make_readings(maps, tiny_prior, SPREAD, folder, 3)
    assert made == {path: path.stat().st_mtime_ns for path in paths}
    with pytest.raises(ConfigError, match="other maps"):
        make_readings(maps[:1], tiny_prior, SPREAD, folder, 2)
    forget_readings(folder)
    assert not folder.exists()
    make_readings(maps, tiny_prior, SPREAD, folder, 2)
    again = load_reading(paths[1])
    for one, two in zip(reading, again, strict=True):
        assert torch.equal(one, two)
