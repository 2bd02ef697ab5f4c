"""The loss of an image reader: through the likelihood, from nothing added."""

from pathlib import Path

import torch
from torch.utils.data import default_collate

from seg_prior.checkpoints.file import load_model
from seg_prior.config.networks import ReaderConfig
from seg_prior.models.image_reader import ImageReader
from seg_prior.models.likelihood import intensity_classes
from seg_prior.models.reader_input import ReaderSpace, fold
from seg_prior.training.patches import Patches
from seg_prior.training.reader_losses import interpolated, parts_at, reader_losses
from tests.training.test_patches import patches

__all__ = ["patches"]


def test_a_network_that_adds_nothing_loses_what_f_of_z_does(
    patches: Patches, tiny_prior: Path
) -> None:
    model = load_model(tiny_prior)
    classes = intensity_classes(model.header.label_table, model.header.intensity)
    space = ReaderSpace.of(model.location, classes)
    network = ImageReader(
        space.num_inputs, len(model.header.label_table.written), ReaderConfig(widths=(8, 8, 8, 8))
    )
    both = [default_collate([patches[n]]) for n in range(2)]
    losses = [reader_losses(network, space, classes, batch) for batch in both]
    for found in losses:
        torch.testing.assert_close(found["cross_entropy"], found["cross_entropy_before"])
        torch.testing.assert_close(found["dice"], found["dice_before"])
    batch = default_collate([patches[0], patches[1]])
    together = reader_losses(network, space, classes, batch)["loss"]
    torch.testing.assert_close(together, (losses[0]["loss"] + losses[1]["loss"]) / 2)
    together.backward()
    assert network.head.weight.grad is not None
    assert network.head.weight.grad.any()


def test_parts_and_what_lies_between_voxels_are_in_the_order_of_fold() -> None:
    shape = (3, 4, 5)
    voxels = torch.tensor([0, 7, 31, 59])
    fine = torch.arange(8 * 60).view(1, 6, 8, 10)
    expected = fold(fine).flatten(1)[:, voxels].T
    assert torch.equal(fine.flatten()[parts_at(voxels, shape)], expected)
    slope = torch.arange(60.0).view(1, *shape)
    between = torch.nn.functional.interpolate(slope[None], scale_factor=2, mode="trilinear")[0]
    torch.testing.assert_close(
        interpolated(slope, voxels)[:, 0], fold(between).flatten(1)[:, voxels].T
    )
