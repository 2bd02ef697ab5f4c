"""One code path: what a GPU says is what the CPU says, up to rounding. Needs a CUDA device."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import default_collate

from seg_prior.api import Segmenter
from seg_prior.checkpoints.file import load_model
from seg_prior.commands import train_encoder, train_prior
from seg_prior.config.networks import ReaderConfig
from seg_prior.models.image_reader import ImageReader
from seg_prior.models.likelihood import intensity_classes
from seg_prior.models.reader_input import ReaderSpace
from seg_prior.training.patches import Patches
from seg_prior.training.reader_losses import reader_losses
from tests.commands.test_train_encoder import FORM, OPTIM, asked
from tests.training.test_patches import patches

__all__ = ["patches"]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
]
SAME_SHARE = 0.995
"""Of voxels: a GPU multiplies in another order, and in bfloat16."""


def test_a_scan_has_the_labels_that_the_cpu_gives(phantom_folder: Path, tiny_prior: Path) -> None:
    scan = sorted(phantom_folder.glob("*_phantom.nii.gz"))[0]
    found = [Segmenter.load(tiny_prior, device=d).segment(scan) for d in ("cpu", "cuda")]
    assert (found[0].label_map == found[1].label_map).mean() > SAME_SHARE
    assert found[1].label_map.any()


def test_the_loss_of_a_patch_is_that_of_the_cpu(patches: Patches, tiny_prior: Path) -> None:
    batch = default_collate([patches[0]])
    losses = []
    for device in ("cpu", "cuda"):
        model = load_model(tiny_prior)
        model.prior.to(device)
        classes = intensity_classes(model.header.label_table, model.header.intensity)
        space = ReaderSpace.of(model.location, classes)
        torch.manual_seed(0)
        network = ImageReader(
            space.num_inputs,
            len(model.header.label_table.written),
            ReaderConfig.model_validate(FORM),
        ).to(device)
        moved = batch._replace(
            **{
                name: value.to(device)
                if isinstance(value, torch.Tensor)
                else tuple(part.to(device) for part in value)
                for name, value in batch._asdict().items()
            }
        )
        losses.append(reader_losses(network, space, classes.to(device), moved)["loss"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_both_stages_are_taught_on_a_gpu(phantom_folder: Path, tmp_path: Path) -> None:
    prior, out = tmp_path / "prior.safetensors", tmp_path / "model.safetensors"
    settings = {
        "labels": [phantom_folder / "*_dseg.nii.gz"],
        "label_table": phantom_folder / "labels.tsv",
        "out": prior,
        "spacing_mm": 5.0,
        "vae": {"latent_channels": 4, "widths": (8, 8, 16), "num_blocks": 1},
        "optim": OPTIM | {"precision": "bf16-mixed"},
        "device": "cuda",
    }
    train_prior.run(train_prior.Config.model_validate(settings))
    train_encoder.run(asked(phantom_folder, prior, out, device="cuda", network=FORM))
    assert load_model(out).image_reader is not None
