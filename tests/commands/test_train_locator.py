"""`train-locator`: from unlabelled scans to a checkpoint that segments with it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from seg_prior.api import Segmenter
from seg_prior.checkpoints.file import load_model
from seg_prior.commands import train_locator
from seg_prior.commands.train_locator import Config as TrainLocatorConfig
from seg_prior.config.optim import OptimConfig
from seg_prior.core.grid import Grid
from seg_prior.errors import ConfigError
from seg_prior.io.read import read_volume
from seg_prior.training.locator import NUM_VOXELS, propose_spacing_mm
from seg_prior.training.losses import locator_losses

FEW = OptimConfig(steps=2, batch_size=2, warmup_steps=1, precision="32-true", num_workers=0)


def request(phantom_folder: Path, prior: Path, out: Path) -> TrainLocatorConfig:
    images = sorted(phantom_folder.glob("*_phantom.nii.gz"))[:2]
    return TrainLocatorConfig(images=images, prior=prior, out=out, optim=FEW, threads=1)


def test_a_prior_gains_a_locator_and_still_segments(
    phantom_folder: Path, posed_atlas: Path, tmp_path: Path, talk: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "located.safetensors"
    config = request(phantom_folder, posed_atlas, out)
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no image")
    config = config.model_copy(update={"images": [*config.images, broken]})
    header = train_locator.run(config)
    assert sum("left out: " in line and "broken.nii.gz" in line for line in talk.messages) == 1
    model = load_model(out)
    assert model.locator is not None
    assert model.header == header
    assert model.header.kind == "atlas"
    assert model.header.provenance["train-locator"]["num_scans"] == 2
    assert (tmp_path / "located" / "log.png").exists()
    before = load_model(posed_atlas)
    assert torch.equal(before.location.log_prob, model.location.log_prob)
    image = config.images[0]
    with pytest.raises(ConfigError, match="found a prior that has a locator, need one without"):
        train_locator.run(
            config.model_copy(update={"prior": out, "out": tmp_path / "twice.safetensors"})
        )
    label_map = Segmenter.load(out, threads=1).segment(image).label_map
    assert label_map.shape == read_volume(image).grid.shape
    assert (label_map > 0).any()


def test_a_prior_of_any_pose_learns_from_label_maps_alone(
    phantom_folder: Path, tiny_prior: Path, tmp_path: Path
) -> None:
    maps, out = sorted(phantom_folder.glob("*_dseg.nii.gz")), tmp_path / "found.safetensors"
    config = TrainLocatorConfig(
        labels=maps, holdout=["sub-004"], prior=tiny_prior, out=out, optim=FEW, threads=1
    )
    header = train_locator.run(config)
    assert header.provenance["train-locator"]["num_scans"] == len(maps) - 1
    assert header.pose_prior is None
    segmenter = Segmenter.load(out, device="cpu", threads=1)
    assert segmenter.atlas.find is not None
    assert segmenter.segment(sorted(phantom_folder.glob("*_phantom.nii.gz"))[0]).label_map.any()


def test_scans_and_label_maps_are_each_for_their_priors(
    phantom_folder: Path, posed_atlas: Path, tmp_path: Path
) -> None:
    config = request(phantom_folder, posed_atlas, tmp_path / "located.safetensors")
    maps = sorted(phantom_folder.glob("*_dseg.nii.gz"))
    for change in ({"labels": maps}, {"images": []}):
        with pytest.raises(ConfigError, match="need one of both"):
            train_locator.run(config.model_copy(update=change))
    with pytest.raises(ConfigError, match="need one of any field of view"):
        train_locator.run(config.model_copy(update={"images": [], "labels": maps}))


def test_a_prior_of_any_pose_is_refused(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path
) -> None:
    config = request(phantom_folder, tiny_atlas, tmp_path / "located.safetensors")
    with pytest.raises(ConfigError, match="need one of scans cut like the label maps"):
        train_locator.run(config)
    assert not config.out.exists()


def test_one_scan_is_too_few(phantom_folder: Path, posed_atlas: Path, tmp_path: Path) -> None:
    config = request(phantom_folder, posed_atlas, tmp_path / "located.safetensors")
    config = config.model_copy(update={"images": config.images[:1]})
    with pytest.raises(ConfigError, match="found 1 scans that can be read, need two"):
        train_locator.run(config)


def test_the_grid_is_as_fine_as_a_step_can_hold(phantom_folder: Path, posed_atlas: Path) -> None:
    volume = read_volume(sorted(phantom_folder.glob("*_phantom.nii.gz"))[0])
    prior_grid = load_model(posed_atlas).header.grid
    assert propose_spacing_mm([volume.grid], prior_grid) == pytest.approx(6.0)  # the prior's own
    large = Grid(volume.grid.shape, volume.grid.affine @ np.diag([10.0, 10, 10, 1]))
    spacing_mm = propose_spacing_mm([large], prior_grid)
    num_voxels = np.prod(large.shape) * large.voxel_volume_mm3 / spacing_mm**3
    assert num_voxels == pytest.approx(NUM_VOXELS)


def test_the_loss_is_least_where_the_posterior_is_met() -> None:
    labels = torch.zeros(1, 3, 8, 8, 8)
    labels[:, 1, 2:6, 2:6, 2:6] = 1.0
    labels[:, 2, :2] = 1.0
    labels[:, 0] = 1 - labels.sum(1)
    image = torch.stack([torch.zeros(8, 8, 8), torch.ones(8, 8, 8)])[None]

    def loss_of(found: torch.Tensor) -> float:
        answer = found.clamp_min(1e-6).log()
        return float(locator_losses(lambda image: answer, (image, labels), 0)["loss"])  # type: ignore[arg-type]

    right = loss_of(labels)
    assert right < 0.01
    assert loss_of(0.5 * labels + 0.5 / 3) > right + 0.1
    assert loss_of(labels.flip(1)) > 2.0
    # A batch counts each scan alike, however large its anatomy: two processes see what one does.
    small = torch.zeros_like(labels)
    small[:, 1, 2:4, 2:4, 2:4] = 1.0
    small[:, 0] = 1 - small.sum(1)
    found = (0.7 * torch.cat([labels, small]) + 0.1).log()
    both = (image.expand(2, -1, -1, -1, -1), torch.cat([labels, small]))
    parts = [
        locator_losses(lambda x, n=n: found[n : n + 1], (image, both[1][n : n + 1]), 0)["loss"]  # type: ignore[arg-type]
        for n in range(2)
    ]
    whole = locator_losses(lambda x: found, both, 0)["loss"]  # type: ignore[arg-type]
    assert abs(parts[0] - parts[1]) > 0.1
    torch.testing.assert_close(whole, (parts[0] + parts[1]) / 2)
    # What lies outside the field of view does not count.
    image[:, 1, :2] = 0.0
    wrong_outside = labels.clone()
    wrong_outside[:, :, :2] = torch.tensor([0.0, 1.0, 0.0]).view(3, 1, 1, 1)
    assert loss_of(wrong_outside) == pytest.approx(loss_of(labels), abs=1e-5)
