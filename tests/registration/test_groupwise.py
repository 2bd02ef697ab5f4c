"""The common frame: landmarks by hand, fits that undo known affines, no drift."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_prior.core.grid import MIRROR, Affine, apply_affine
from seg_prior.registration.groupwise import (
    RIDGE,
    Landmarks,
    bounding_grid,
    find_landmarks,
    fit_affine,
    fit_group,
    mirror,
)

Floats = NDArray[np.float64]
PARTNER = np.array([0, 2, 1, 4, 3, 5, 6, 7])
ALONE = np.arange(8)


def anatomy() -> Landmarks:
    """Two pairs and three midline structures, symmetric about x = 0; label 0 is background."""
    centroids = np.array(
        [
            [np.nan] * 3,
            *([-30, 10, 0], [30, 10, 0], [-18, -25, 12], [18, -25, 12]),
            *([0, 40, -10], [0, -5, 35], [0, -12, -30]),
        ],
        dtype=float,
    )
    volumes = np.array([0, 900, 900, 400, 400, 1600, 100, 2500], dtype=float)
    weight = volumes[1:] / volumes.sum()
    center = weight @ centroids[1:]
    radius = float(np.sqrt(weight @ ((centroids[1:] - center) ** 2).sum(axis=1)))
    return Landmarks(centroids, volumes, center, radius)


def moved(landmarks: Landmarks, affine: Affine) -> Landmarks:
    centroids = apply_affine(affine, landmarks.centroids_mm)
    scale = abs(np.linalg.det(affine[:3, :3]))
    volumes = landmarks.volumes_mm3 * scale
    is_there = volumes > 0
    weight = volumes[is_there] / volumes.sum()
    center = weight @ centroids[is_there]
    radius = float(np.sqrt(weight @ ((centroids[is_there] - center) ** 2).sum(axis=1)))
    return Landmarks(centroids, volumes, center, radius)


def pose(seed: int, spread: float = 1.0) -> Affine:
    """A rotation of some degrees, scales of some percent, and a shift of centimetres."""
    rng = np.random.default_rng(seed)
    x, y, z = rng.normal(0, 0.08 * spread, 3)
    turn = np.eye(3) + np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    orthogonal, _ = np.linalg.qr(turn)
    orthogonal *= np.sign(np.diag(orthogonal))
    affine = np.eye(4)
    affine[:3, :3] = orthogonal @ np.diag(np.exp(rng.normal(0, 0.06 * spread, 3)))
    affine[:3, 3] = rng.normal(0, 20, 3)
    return affine


def without(landmarks: Landmarks, label: int) -> Landmarks:
    centroids, volumes = landmarks.centroids_mm.copy(), landmarks.volumes_mm3.copy()
    centroids[label], volumes[label] = np.nan, 0
    return replace(landmarks, centroids_mm=centroids, volumes_mm3=volumes)


def only(landmarks: Landmarks, labels: list[int]) -> Landmarks:
    for label in set(range(1, 8)) - set(labels):
        landmarks = without(landmarks, label)
    return landmarks


def rms(points: Floats) -> float:
    return float(np.sqrt((points**2).sum(axis=-1).mean()))


def test_landmarks_by_hand() -> None:
    indices = np.zeros((6, 5, 4), dtype=np.uint8)
    indices[1, 2, 3] = indices[3, 2, 3] = 1
    indices[4, 0, 1] = 2
    indices[0, 0, 0] = 3  # a nuisance label
    affine = np.diag([-2.0, 3.0, 1.0, 1.0])
    affine[:3, 3] = [10, 0, -5]
    found = find_landmarks(indices, affine, np.array([False, True, True, False, True]))
    np.testing.assert_allclose(found.centroids_mm[1], [10 - 4, 6, -2])
    np.testing.assert_allclose(found.centroids_mm[2], [10 - 8, 0, -4])
    assert np.isnan(found.centroids_mm[[0, 3, 4]]).all()
    np.testing.assert_allclose(found.volumes_mm3, [0, 12, 6, 0, 0])
    points = np.array([[8, 6, -2], [4, 6, -2], [2, 0, -4]])
    np.testing.assert_allclose(found.center_mm, points.mean(axis=0))
    assert found.radius_mm == pytest.approx(rms(points - points.mean(axis=0)))


def test_the_mirror_image_swaps_sides_and_is_its_own_inverse() -> None:
    lopsided = moved(anatomy(), pose(0))
    image = mirror(lopsided, PARTNER)
    np.testing.assert_allclose(image.centroids_mm[1], lopsided.centroids_mm[2] * [-1, 1, 1])
    np.testing.assert_allclose(image.centroids_mm[5], lopsided.centroids_mm[5] * [-1, 1, 1])
    back = mirror(image, PARTNER)
    np.testing.assert_array_equal(back.centroids_mm, lopsided.centroids_mm)
    np.testing.assert_array_equal(back.center_mm, lopsided.center_mm)


def test_the_fit_onto_itself_is_the_identity() -> None:
    np.testing.assert_allclose(fit_affine(anatomy(), anatomy()), np.eye(4), atol=1e-9)


def test_shift_and_scale_are_found_exactly() -> None:
    affine = np.diag([1.3, 1.3, 1.3, 1.0])
    affine[:3, 3] = [5, -40, 300]
    found = fit_affine(anatomy(), moved(anatomy(), affine))
    np.testing.assert_allclose(found, affine, atol=1e-7)


@pytest.mark.parametrize("seed", range(4))
def test_an_affine_is_found_up_to_the_ridge(seed: int) -> None:
    affine = pose(seed)
    target = moved(anatomy(), affine)
    found = fit_affine(anatomy(), target)
    bend = np.abs(found[:3, :3] - affine[:3, :3]).max()
    off = np.abs(affine[:3, :3] - np.eye(3)).max()
    assert bend < 6 * RIDGE * off
    there = apply_affine(found, anatomy().centroids_mm[1:])
    assert rms(there - target.centroids_mm[1:]) < 1.0


@pytest.mark.parametrize("labels", [[1], [1, 2], [5, 7], [1, 2, 5]])
def test_few_labels_give_a_fit_that_neither_folds_nor_explodes(labels: list[int]) -> None:
    affine = np.diag([1.2, 1.2, 1.2, 1.0])
    affine[:3, 3] = [3, 4, 5]
    few = only(anatomy(), labels)
    found = fit_affine(few, _scaled(few, affine))
    np.testing.assert_allclose(found, affine, atol=1e-6)


def _scaled(landmarks: Landmarks, affine: Affine) -> Landmarks:
    """As `moved` by a uniform scale, with the radius that centroids alone do not tell."""
    return Landmarks(
        apply_affine(affine, landmarks.centroids_mm),
        landmarks.volumes_mm3 * np.linalg.det(affine[:3, :3]),
        apply_affine(affine, landmarks.center_mm[None])[0],
        landmarks.radius_mm * affine[0, 0],
    )


def test_maps_without_a_common_label_meet_by_centre_and_size() -> None:
    first, second = only(anatomy(), [1, 5]), _scaled(only(anatomy(), [3, 7]), pose(3))
    found = fit_affine(first, second)
    scale = second.radius_mm / first.radius_mm
    np.testing.assert_allclose(found[:3, :3], scale * np.eye(3), atol=1e-9)
    center = apply_affine(found, first.center_mm[None])[0]
    np.testing.assert_allclose(center, second.center_mm, atol=1e-9)


def test_moved_copies_meet() -> None:
    maps = [moved(anatomy(), pose(seed)) for seed in range(6)]
    group = fit_group(maps, ALONE)
    for landmarks, affine, residual_mm in zip(
        maps, group.prior_from_native, group.residual_mm, strict=True
    ):
        there = apply_affine(affine, landmarks.centroids_mm[1:])
        distance = rms(there - group.reference.centroids_mm[1:])
        assert distance < 1.0
        assert residual_mm == pytest.approx(distance)
    assert min(rms(m.centroids_mm[1:] - maps[0].centroids_mm[1:]) for m in maps[1:]) > 5


def test_the_frame_has_the_mean_size_and_lies_about_the_origin() -> None:
    maps = [moved(anatomy(), pose(seed)) for seed in range(6)]
    group = fit_group(maps, ALONE)
    linear = np.mean(group.prior_from_native, axis=0)[:3, :3]
    np.testing.assert_allclose(linear, np.eye(3), atol=1e-9)
    assert np.abs(group.reference.center_mm).max() < 0.05
    sizes = [m.radius_mm for m in maps]
    assert min(sizes) < group.reference.radius_mm < max(sizes)


def test_with_sides_the_frame_is_symmetric() -> None:
    tilt = np.eye(4)
    tilt[:2, :2] = [[0.98, -0.2], [0.2, 0.98]]  # all heads turned the same way
    maps = [moved(anatomy(), tilt @ pose(seed, spread=0.3)) for seed in range(4)]
    group = fit_group(maps, PARTNER)
    found = group.reference
    np.testing.assert_allclose(mirror(found, PARTNER).centroids_mm, found.centroids_mm, atol=1e-6)
    np.testing.assert_allclose(found.centroids_mm[5:, 0], 0, atol=1e-6)
    assert found.centroids_mm[1, 0] < 0 < found.centroids_mm[2, 0]
    for landmarks, affine in zip(maps, group.prior_from_native, strict=True):
        midline = apply_affine(affine, landmarks.centroids_mm[5:])[:, 0]
        assert np.abs(midline).max() < 0.5
    without_sides = fit_group(maps, ALONE).reference
    assert np.abs(without_sides.centroids_mm[5:, 0]).max() > 3


def test_a_mirrored_group_has_the_mirrored_frame() -> None:
    maps = [moved(anatomy(), pose(seed)) for seed in range(4)]
    group = fit_group(maps, PARTNER)
    images = fit_group([mirror(m, PARTNER) for m in maps], PARTNER)
    for affine, image in zip(group.prior_from_native, images.prior_from_native, strict=True):
        np.testing.assert_allclose(image, MIRROR @ affine @ MIRROR, atol=1e-6)


def test_reordering_maps_reorders_the_result() -> None:
    maps = [moved(anatomy(), pose(seed)) for seed in range(5)]
    order = [3, 0, 4, 2, 1]
    group, shuffled = fit_group(maps, PARTNER), fit_group([maps[n] for n in order], PARTNER)
    for place, n in enumerate(order):
        found = shuffled.prior_from_native[place]
        np.testing.assert_allclose(found, group.prior_from_native[n], atol=1e-8)
        assert shuffled.residual_mm[place] == pytest.approx(group.residual_mm[n])


def test_reordering_labels_changes_nothing() -> None:
    maps = [moved(anatomy(), pose(seed)) for seed in range(4)]
    order = np.array([0, 7, 3, 1, 5, 2, 4, 6])  # new index -> old index
    place = np.argsort(order)
    renamed = [
        replace(m, centroids_mm=m.centroids_mm[order], volumes_mm3=m.volumes_mm3[order])
        for m in maps
    ]
    group, other = fit_group(maps, PARTNER), fit_group(renamed, place[PARTNER[order]])
    for first, second in zip(group.prior_from_native, other.prior_from_native, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-8)


def test_an_absent_label_costs_a_map_little() -> None:
    maps = [moved(anatomy(), pose(seed)) for seed in range(5)]
    whole = fit_group(maps, PARTNER)
    maps[2] = without(maps[2], 6)
    group = fit_group(maps, PARTNER)
    for first, second in zip(whole.prior_from_native, group.prior_from_native, strict=True):
        there = [apply_affine(affine, maps[2].centroids_mm) for affine in (first, second)]
        assert np.nanmax(np.abs(there[0] - there[1])) < 1.0
    assert np.isfinite(group.residual_mm).all()
    assert np.isfinite(group.reference.centroids_mm[6]).all()


def test_a_label_that_no_map_has_is_left_out() -> None:
    group = fit_group([without(moved(anatomy(), pose(seed)), 6) for seed in range(3)], PARTNER)
    assert np.isnan(group.reference.centroids_mm[6]).all()
    assert np.isfinite(np.stack(group.prior_from_native)).all()


@pytest.mark.parametrize("labels", [[5], [1, 2], [5, 7]])
def test_a_group_of_few_labels_meets(labels: list[int]) -> None:
    maps = [only(moved(anatomy(), pose(seed, spread=0.3)), labels) for seed in range(4)]
    group = fit_group(maps, PARTNER)
    for landmarks, affine in zip(maps, group.prior_from_native, strict=True):
        stretch = np.linalg.svd(affine[:3, :3], compute_uv=False)
        assert 0.8 < stretch[2] <= stretch[0] < 1.25
        there = apply_affine(affine, landmarks.centroids_mm[labels])
        assert rms(there - group.reference.centroids_mm[labels]) < 1.5


def test_one_map_alone_is_only_centred() -> None:
    landmarks = moved(anatomy(), pose(1))
    group = fit_group([landmarks], ALONE)
    np.testing.assert_allclose(group.prior_from_native[0][:3, :3], np.eye(3), atol=1e-9)
    there = apply_affine(group.prior_from_native[0], landmarks.center_mm[None])
    np.testing.assert_allclose(there, 0, atol=1e-9)


def test_an_outlier_is_seen_in_its_residual() -> None:
    maps = [moved(anatomy(), pose(seed)) for seed in range(6)]
    swapped = maps[4].centroids_mm[[0, 1, 2, 3, 4, 7, 6, 5]]
    maps[4] = replace(maps[4], centroids_mm=swapped)
    residual_mm = fit_group(maps, ALONE).residual_mm
    assert np.argmax(residual_mm) == 4
    assert residual_mm[4] > 2 * sorted(residual_mm)[-2]


def test_the_grid_holds_all_extents_and_is_a_whole_number_of_blocks() -> None:
    extents = [
        (np.array([-31.0, -50.0, 5.0]), np.array([28.0, 40.0, 60.0])),
        (np.array([-25.0, -44.0, 2.0]), np.array([33.0, 47.0, 52.0])),
    ]
    grid = bounding_grid(extents, spacing_mm=2.0, margin_mm=6.0, multiple=8)
    assert all(side % 8 == 0 for side in grid.shape)
    np.testing.assert_allclose(grid.spacing_mm, 2.0)
    last = np.array(grid.shape) - 1
    low, high = apply_affine(grid.affine, np.array([[0, 0, 0], last]))
    assert (low - 1 <= [-33 - 6, -50 - 6, 2 - 6]).all()  # the faces of voxels, not their centres
    assert (high + 1 >= [33 + 6, 47 + 6, 60 + 6]).all()
    need = np.array([2 * 39, 97 + 12, 58 + 12]) / 2
    assert (np.array(grid.shape) < need + 8).all()
    assert low[0] == pytest.approx(-high[0])  # x = 0 in the middle
    np.testing.assert_allclose(((low + high) / 2)[1:], [-1.5, 31])


def test_a_grid_beside_x_0_is_centred_on_its_anatomy() -> None:
    extents = [(np.array([10.0, 0.0, 0.0]), np.array([30.0, 20.0, 20.0]))]
    grid = bounding_grid(extents, spacing_mm=1.0, margin_mm=2.0, multiple=4)
    assert grid.shape == (24, 24, 24)
    np.testing.assert_allclose(grid.center_mm, [20, 10, 10])
