"""The network that corrects f(z): where it starts, and what is kept of what it says."""

import torch

from seg_prior.config.networks import ReaderConfig
from seg_prior.models.cells import CELL
from seg_prior.models.image_reader import ImageReader

NUM_INPUTS, NUM_GROUPS = 5, 3


def reader() -> tuple[ImageReader, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    network = ImageReader(NUM_INPUTS, NUM_GROUPS, ReaderConfig(widths=(8, 8, 8, 8)))
    return network, torch.randn(1, NUM_INPUTS, 24, 24, 24), torch.tensor([0, 77, 5000])


def test_one_that_has_learned_nothing_changes_nothing() -> None:
    network, image, voxels = reader()
    with torch.no_grad():
        residual = network(image, voxels)
    assert residual.shape == (3, NUM_GROUPS, CELL)
    assert not residual.any()


def test_a_share_is_kept_of_one_label_and_no_other() -> None:
    network, image, voxels = reader()
    with torch.no_grad():
        network.head.weight.normal_()
        network.head.bias.normal_()
        whole = network(image, voxels)
        network.damp({1: 0.5})
        found = network(image, voxels)
    torch.testing.assert_close(found[:, 1], 0.5 * whole[:, 1])
    assert torch.equal(found[:, [0, 2]], whole[:, [0, 2]])
