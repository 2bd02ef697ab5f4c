"""What the prior expects, by hand, and a lesion that it does not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from seg_prior.api import Segmenter
from seg_prior.core.volume import Volume
from seg_prior.inference.departure import (
    MIN_VOXELS,
    THRESHOLD_SD,
    departure_map,
    expectation,
    label_moments,
)
from seg_prior.io.read import read_label_map, read_volume


def test_what_is_expected_is_the_mean_over_labels() -> None:
    shares = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]])
    blocks = iter([shares[:1].log() + 3, shares[1:].log()])  # up to a constant of each voxel
    found = expectation(blocks, torch.tensor([[0.0, 1.0], [4.0, 2.0], [10.0, 3.0]]))
    np.testing.assert_allclose(found, [[2.0, 1.5], [8.8, 2.8]], rtol=1e-6)


def test_moments_of_a_label_leave_lesions_out() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(5, 2, size=4000).astype(np.float32)
    values[:200] = 90
    label = np.ones(4000, dtype=np.uint8)
    label[-MIN_VOXELS + 1 :] = 2
    middle, sd = label_moments(values, label, 4).T
    assert middle[1] == pytest.approx(5, abs=0.3)
    assert sd[1] == pytest.approx(2, rel=0.15)
    # One voxel too few, and none: those of all.
    assert (middle[0], sd[0]) == (middle[2], sd[2]) == (middle[3], sd[3])


@pytest.fixture(scope="module")
def lesioned(phantom_folder: Path) -> tuple[Volume, NDArray[np.bool_]]:
    """A phantom with a dark lesion of eight voxels deep in its white matter, and where that is."""
    scan = read_volume(phantom_folder / "sub-001_phantom.nii.gz")
    white = read_label_map(phantom_folder / "sub-001_phantom_dseg.nii.gz").data == 30
    depth = ndimage.distance_transform_edt(white)
    i, j, k = np.unravel_index(int(depth.argmax()), depth.shape)
    lesion = np.zeros(white.shape, dtype=bool)
    lesion[i - 1 : i + 1, j - 1 : j + 1, k - 1 : k + 1] = True
    data = scan.data.copy()
    data[lesion] *= 0.5
    return Volume(data, scan.grid, source="lesioned"), lesion


def test_a_lesion_departs_and_its_surroundings_do_not(
    tiny_atlas: Path, lesioned: tuple[Volume, NDArray[np.bool_]]
) -> None:
    volume, lesion = lesioned
    result = Segmenter.load(tiny_atlas, device="cpu", threads=1).segment(volume)
    [departure] = departure_map(result)
    is_structure = result.predictor.label_table.is_structure[result.label_indices]
    assert departure.shape == volume.grid.shape
    assert departure.dtype == np.float32
    assert (departure[~is_structure] == 0).all()
    # It is darker than expected, and more so than nearly all else.
    assert np.median(departure[lesion]) < np.quantile(departure[is_structure & ~lesion], 0.01)
    assert np.median(departure[lesion]) < -THRESHOLD_SD


def test_each_contrast_has_its_own_map_where_it_was_seen(
    tiny_atlas: Path, lesioned: tuple[Volume, NDArray[np.bool_]]
) -> None:
    volume, _ = lesioned
    middle = volume.data.shape[0] // 2
    half = volume.data.copy()
    half[:middle] = 0
    segmenter = Segmenter.load(tiny_atlas, device="cpu", threads=1)
    result = segmenter.segment(volume, contrasts=[Volume(half, volume.grid, source="half")])
    whole, other = departure_map(result)
    is_structure = result.predictor.label_table.is_structure[result.label_indices]
    assert (other[:middle] == 0).all()
    for one, part in ((whole, slice(None)), (other, slice(middle, None))):
        assert np.isfinite(one).all()
        assert np.median(np.abs(one[part][is_structure[part]])) == pytest.approx(0.7, abs=0.3)
