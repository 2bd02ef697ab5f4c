"""Patches of readings: pure functions of their number, mirrored where labels have sides."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from seg_prior.checkpoints.file import load_model
from seg_prior.config.synthesis import AugmentConfig, SynthesisConfig
from seg_prior.config.training import PatchConfig
from seg_prior.models.likelihood import intensity_classes
from seg_prior.models.location import LocationPrior
from seg_prior.training import patches as module
from seg_prior.training.patches import Patches
from seg_prior.training.readings import Reading, Spread, make_readings
from tests.models import toy


@pytest.fixture
def patches(phantom_folder: Path, tiny_prior: Path, tmp_path: Path) -> Patches:
    maps = sorted(phantom_folder.glob("*_dseg.nii.gz"))[:2]
    spread = Spread(AugmentConfig(), SynthesisConfig())
    paths = make_readings(maps, tiny_prior, spread, tmp_path / "readings", 2)
    header = load_model(tiny_prior).header
    classes = intensity_classes(header.label_table, header.intensity)
    config = PatchConfig(side=24, num_voxels=500)
    location = load_model(tiny_prior).location
    return Patches(paths, location, classes, header.label_table.written, config, 1, 10)


def test_a_patch_is_a_function_of_its_number_and_fits_into_a_batch(patches: Patches) -> None:
    assert len(patches) == 10
    one, again, other = patches[3], patches[3], patches[4]
    assert torch.equal(one.image, again.image)
    assert torch.equal(one.chosen, again.chosen)
    assert not torch.equal(one.image, other.image)
    assert one.chosen.shape == (500,)
    batch = default_collate([one, other])
    for n, patch in enumerate((one, other)):
        found = batch.one(n)
        assert found.box == patch.box
        assert torch.equal(found.labels, patch.labels)
        assert torch.equal(found.fitted[0], patch.fitted[0])


def test_a_mirror_image_mirrored_is_the_patch(patches: Patches) -> None:
    patch = patches[0]
    mirrored = patches._mirrored(patch)
    twice = patches._mirrored(mirrored)
    assert not torch.equal(mirrored.chosen, patch.chosen)
    assert torch.equal(twice.chosen, patch.chosen)
    assert torch.equal(twice.labels, patch.labels)
    assert torch.equal(twice.log_prior, patch.log_prior)
    assert twice.box == patch.box


def test_of_aged_anatomies_a_share_is_kept_in_the_second_half(
    location: LocationPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = torch.zeros(())
    pair = [Reading(*[nothing] * 9, torch.tensor(aged)) for aged in (False, True)]
    monkeypatch.setattr(module, "load_reading", lambda path: pair[int(path.name)])
    paths = [Path("0"), Path("1")]
    patches = Patches(paths, location, toy.CLASSES, toy.table(), PatchConfig(), 1, 10)

    def share(done: float) -> float:
        generator = torch.Generator().manual_seed(0)
        return float(np.mean([bool(patches._reading(done, generator).is_aged) for _ in range(500)]))

    assert abs(share(0.0) - 0.5) < 0.07
    assert abs(share(0.5) - 0.36 / 1.36) < 0.07
