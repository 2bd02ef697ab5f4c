"""Surface distances by hand, against distance transforms, and on awkward label maps."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter

from seg_prior.metrics.surface import surface_distance_by_id

ISOTROPIC = np.ones(3)


def plates(axis: int, apart: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Two one-voxel plates of label 4, `apart` voxels from each other along an axis."""
    pred, ref = np.zeros((2, 8, 9, 10), dtype=np.int32)
    np.moveaxis(pred, axis, 0)[2] = 4
    np.moveaxis(ref, axis, 0)[2 + apart] = 4
    return pred, ref


@pytest.mark.parametrize(("axis", "apart", "distance_mm"), [(0, 4, 2.0), (1, 1, 2.0), (2, 2, 6.0)])
def test_plates_are_as_far_apart_as_their_spacing_says(
    axis: int, apart: int, distance_mm: float
) -> None:
    distance = surface_distance_by_id(*plates(axis, apart), np.array([0.5, 2.0, 3.0]))[4]
    assert distance == pytest.approx((distance_mm, distance_mm))


def test_cubes_2_mm_apart_by_hand() -> None:
    # Of the 56 surface voxels of a 4^3 cube moved by 2: 16 are 2 mm off, 12 + 4 are 1 mm off.
    pred, ref = np.zeros((2, 12, 10, 10), dtype=np.int32)
    pred[2:6, 3:7, 3:7] = 1
    ref[4:8, 3:7, 3:7] = 1
    distance = surface_distance_by_id(pred, ref, ISOTROPIC)[1]
    assert distance == pytest.approx((2.0, 48 / 56))


def test_hd95_is_the_larger_direction() -> None:
    # From the speck every distance is 0; from the rod 10 voxels back they are 0 to 9.
    pred, ref = np.zeros((2, 14, 3, 3), dtype=np.int32)
    pred[2, 1, 1] = 1
    ref[2:12, 1, 1] = 1
    there_and_back = surface_distance_by_id(pred, ref, ISOTROPIC)[1]
    assert there_and_back.hd95_mm == pytest.approx(np.percentile(np.arange(10), 95))
    assert there_and_back.mean_mm == pytest.approx(45 / 11)
    assert surface_distance_by_id(ref, pred, ISOTROPIC)[1] == pytest.approx(there_and_back)


def brute_force(
    pred: NDArray[np.bool_], ref: NDArray[np.bool_], spacing_mm: NDArray[np.float64]
) -> tuple[float, float]:
    """HD95 and mean from distance transforms of the whole volume."""
    pred_edge, ref_edge = pred & ~binary_erosion(pred), ref & ~binary_erosion(ref)
    there = distance_transform_edt(~ref_edge, sampling=spacing_mm)[pred_edge]
    back = distance_transform_edt(~pred_edge, sampling=spacing_mm)[ref_edge]
    hd95_mm = max(np.percentile(there, 95), np.percentile(back, 95))
    return float(hd95_mm), float(np.concatenate([there, back]).mean())


def test_random_blobs_equal_distance_transforms() -> None:
    # Smooth noise: labels in several pieces, many of them cut by the image border.
    rng = np.random.default_rng(2)
    noise = gaussian_filter(rng.standard_normal((2, 24, 20, 16)), (0, 2.5, 2.5, 2.5))
    pred, ref = np.digitize(noise / noise.std(), [-0.8, 0.2, 1.0]).astype(np.int32)
    spacing_mm = np.array([0.7, 1.0, 3.5])
    distances = surface_distance_by_id(pred, ref, spacing_mm)
    assert list(distances) == [1, 2, 3]
    for id_, distance in distances.items():
        assert distance == pytest.approx(brute_force(pred == id_, ref == id_, spacing_mm), rel=1e-5)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_agrees_with_the_metrics_monai_reports() -> None:
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    rng = np.random.default_rng(3)
    noise = gaussian_filter(rng.standard_normal((2, 16, 16, 16)), (0, 2, 2, 2))
    pred, ref = (noise > 0).astype(np.int32)
    spacing_mm = np.array([1.0, 1.5, 2.0])
    args = (pred[None, None], ref[None, None], True)
    hd95 = compute_hausdorff_distance(*args, percentile=95, spacing=spacing_mm.tolist())
    mean = compute_average_surface_distance(*args, symmetric=True, spacing=spacing_mm.tolist())
    found = surface_distance_by_id(pred, ref, spacing_mm)[1]
    assert found == pytest.approx((float(hd95[0, 0]), float(mean[0, 0])), rel=1e-5)


def test_labels_of_one_map_only_have_no_distance() -> None:
    pred, ref = np.zeros((2, 5, 5, 5), dtype=np.int32)
    pred[1, 1, 1], ref[3, 3, 3] = 1, 2
    pred[2, 2, 2] = ref[2, 2, 2] = 3
    assert surface_distance_by_id(pred, ref, ISOTROPIC) == {3: (0.0, 0.0)}


def test_permuting_ids_permutes_distances() -> None:
    rng = np.random.default_rng(4)
    pred, ref = rng.integers(0, 4, (2, 6, 6, 6)).astype(np.int32)
    new_id = np.array([0, 614454277, 3, 99], dtype=np.int32)
    distances = surface_distance_by_id(pred, ref, ISOTROPIC)
    permuted = surface_distance_by_id(new_id[pred], new_id[ref], ISOTROPIC)
    assert permuted == {int(new_id[id_]): value for id_, value in distances.items()}
