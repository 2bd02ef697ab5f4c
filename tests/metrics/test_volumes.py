"""Volumes of labels by hand."""

import numpy as np
import pytest

from seg_prior.core.grid import Grid
from seg_prior.metrics.volumes import num_voxels_by_id, volume_error_mm3_by_id, volume_mm3_by_id


def test_voxels_are_counted_without_background() -> None:
    assert num_voxels_by_id(np.array([[0, 2], [2, 614454277]])) == {2: 2, 614454277: 1}


def test_volume_is_count_times_voxel_volume_shear_included() -> None:
    affine = np.array([[2.0, 1, 0, 5], [0, 1.5, 0, 5], [0, 0, -1, 5], [0, 0, 0, 1]])
    label_map = np.zeros((3, 3, 3), dtype=np.int32)
    label_map[:2, 0, 0] = 7
    grid = Grid((3, 3, 3), affine)
    assert volume_mm3_by_id(label_map, grid.voxel_volume_mm3) == pytest.approx({7: 6.0})


def test_error_is_prediction_minus_reference_for_what_the_reference_has() -> None:
    pred_mm3, ref_mm3 = {1: 10.0, 2: 5.0}, {1: 12.0, 3: 4.0}
    assert volume_error_mm3_by_id(pred_mm3, ref_mm3) == {1: -2.0, 3: -4.0}
