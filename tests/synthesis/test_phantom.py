"""The synthetic heads are what their record says, and what the demo needs them to be."""

import itertools
from functools import cache

import numpy as np
import pytest

from seg_prior.core.grid import apply_affine
from seg_prior.synthesis import phantom as ph
from seg_prior.synthesis.phantom import (
    Anatomy,
    Phantom,
    anatomy_label_ids,
    make_phantom,
    phantom_label_table,
)

TABLE = phantom_label_table()
COARSE_MM = 5.0
MEAN_HEAD = Anatomy(0, 0, 0, 0, 0, 0, (0.0, 0.0, 0.0))


@cache
def _coarse(seed: int) -> Phantom:
    return make_phantom(seed, COARSE_MM)


def _volumes_ml(phantom: Phantom) -> dict[int, float]:
    voxel_ml = phantom.label_map.grid.voxel_volume_mm3 / 1000
    ids, counts = np.unique(phantom.label_map.data, return_counts=True)
    return dict(zip(ids.tolist(), (counts * voxel_ml).tolist(), strict=True))


def _voxels_in_head_mm(phantom: Phantom) -> np.ndarray:
    world_mm = apply_affine(
        phantom.image.grid.affine, np.indices(phantom.image.grid.shape).reshape(3, -1).T
    )
    anatomy_from_world = np.asarray(np.linalg.inv(phantom.world_from_anatomy), dtype=np.float64)
    return apply_affine(anatomy_from_world, world_mm)


def test_same_seed_same_phantom_whatever_was_made_before() -> None:
    first = make_phantom(7, COARSE_MM)
    make_phantom(8, COARSE_MM)
    np.random.default_rng().random()
    again = make_phantom(7, COARSE_MM)
    np.testing.assert_array_equal(first.image.data, again.image.data)
    np.testing.assert_array_equal(first.label_map.data, again.label_map.data)
    np.testing.assert_array_equal(first.image.grid.affine, again.image.grid.affine)
    assert first.anatomy == again.anatomy
    assert first.class_means == again.class_means


def test_another_seed_is_another_head_contrast_and_pose() -> None:
    one, other = _coarse(1), _coarse(2)
    assert one.anatomy != other.anatomy
    assert one.class_means != other.class_means
    assert not np.allclose(one.world_from_anatomy, other.world_from_anatomy)


def test_spacing_changes_the_sampling_and_not_the_head() -> None:
    coarse, fine = make_phantom(3, 3.0), make_phantom(3, 2.0)
    assert coarse.anatomy == fine.anatomy
    assert coarse.class_means == fine.class_means
    np.testing.assert_array_equal(coarse.world_from_anatomy, fine.world_from_anatomy)
    fine_ml = _volumes_ml(fine)
    for label_id, volume_ml in _volumes_ml(coarse).items():
        if label_id != 0:
            assert volume_ml == pytest.approx(fine_ml[label_id], rel=0.1)


def test_types_and_size_of_the_default() -> None:
    phantom = make_phantom(0)
    assert phantom.image.data.dtype == np.float32
    assert phantom.label_map.data.dtype == np.uint8
    assert phantom.image.data.shape == phantom.label_map.data.shape == phantom.image.grid.shape
    assert 90_000 < phantom.image.data.size < 200_000
    assert np.isfinite(phantom.image.data).all()


@pytest.mark.parametrize("start", range(0, 40, 10))
def test_every_label_is_in_every_head_and_no_head_is_cut(start: int) -> None:
    for seed in range(start, start + 10):
        labels = make_phantom(seed, 4.0).label_map.data
        assert set(np.unique(labels).tolist()) == set(TABLE.ids.tolist()), seed
        inside = labels[1:-1, 1:-1, 1:-1]
        assert np.count_nonzero(inside) == np.count_nonzero(labels), seed


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_left_and_right_are_mirror_images_before_the_warp(seed: int) -> None:
    points_mm = np.random.default_rng(seed).uniform(-70, 70, (20_000, 3))
    anatomy = _coarse(seed).anatomy
    ids = anatomy_label_ids(anatomy, points_mm)
    mirrored = anatomy_label_ids(anatomy, points_mm * [-1, 1, 1])
    partner_ids = TABLE.ids[TABLE.partner][TABLE.remap(ids, "points")]
    np.testing.assert_array_equal(mirrored, partner_ids)
    assert set(ids[points_mm[:, 0] > 0].tolist()).isdisjoint({ph.LEFT_MEDIAL, ph.LEFT_LATERAL})


def test_places_known_by_hand() -> None:
    points_mm = np.array(
        [
            (0, 0, 80),  # above the head
            (0, 0, -20),  # on the midline, low
            (4, -4, 13),
            (-13, -2, -2),
            (13, -2, -2),
            (-36, 6, -10),
            (0, 0, 45),  # in the fissure
            (25, -40, 0),
        ]
    )
    assert anatomy_label_ids(MEAN_HEAD, points_mm).tolist() == [
        0, ph.STEM, ph.VENTRICLE, ph.LEFT_MEDIAL,
        ph.RIGHT_MEDIAL, ph.LEFT_LATERAL, ph.SHELL, ph.CORE,
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_left_is_left_in_the_scan_whatever_the_order_of_its_axes(seed: int) -> None:
    phantom = _coarse(seed)
    x_mm = _voxels_in_head_mm(phantom)[:, 0].reshape(phantom.image.grid.shape)
    labels = phantom.label_map.data
    assert x_mm[labels == ph.LEFT_MEDIAL].mean() < -5 < 5 < x_mm[labels == ph.RIGHT_MEDIAL].mean()
    # The warp moves single points by millimetres, the head as a whole hardly.
    center_mm = _voxels_in_head_mm(phantom)[labels.ravel() != 0].mean(axis=0)
    assert np.abs(center_mm[[0, 2]]).max() < 5


def test_arrays_come_in_every_order_and_direction_of_the_axes() -> None:
    signs, orders = set(), set()
    for seed in range(60):
        directions = _coarse(seed).image.grid.affine[:3, :3]
        orders.add(tuple(np.abs(directions).argmax(axis=0).tolist()))
        signs.add(tuple(np.sign(directions[np.abs(directions).argmax(axis=0), range(3)]).tolist()))
    assert len(orders) == 6
    assert len(signs) == 8


def test_pose_is_a_small_rotation_and_shift() -> None:
    for seed in range(30):
        pose = _coarse(seed).world_from_anatomy
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
        angle_deg = np.degrees(np.arccos((np.trace(pose[:3, :3]) - 1) / 2))
        assert angle_deg <= 15 * np.sqrt(3)
        assert np.abs(pose[:3, 3]).max() <= 10


@pytest.mark.parametrize("seed", range(4))
def test_intensities_recover_the_class_means_and_sds(seed: int) -> None:
    phantom = make_phantom(seed, 2.0)
    unbiased = phantom.image.data / phantom.bias
    classes = np.array(TABLE.classes()[1])[TABLE.remap(phantom.label_map.data, "phantom")]
    # The blur reaches one voxel: a voxel among 26 of its own class holds nothing else.
    is_pure = np.ones(classes.shape, dtype=bool)
    for shift in itertools.product((-1, 0, 1), repeat=3):
        is_pure &= np.roll(classes, shift, (0, 1, 2)) == classes
    names = TABLE.classes()[0]
    for index, name in enumerate(names):
        values = unbiased[is_pure & (classes == index)]
        assert values.size > 20, name
        tolerance = 5 * phantom.class_sds[name] / np.sqrt(values.size)
        assert values.mean() == pytest.approx(phantom.class_means[name], abs=tolerance), name
        assert values.std() == pytest.approx(
            phantom.class_sds[name], rel=5 / np.sqrt(2 * values.size)
        ), name


def test_bias_is_positive_smooth_and_centred() -> None:
    phantom = _coarse(5)
    log_bias = np.log(phantom.bias)
    assert abs(log_bias.mean()) < 1e-6
    assert 0.1 <= np.abs(log_bias).max() <= 0.3
    assert max(np.abs(np.diff(log_bias, axis=axis)).max() for axis in range(3)) < 0.06


def test_no_order_of_the_tissues_is_the_rule() -> None:
    tissues = ("fluid", "grey", "white", "nucleus")
    orders = set()
    for seed in range(60):
        means = _coarse(seed).class_means
        orders.add(tuple(sorted(tissues, key=means.__getitem__)))
        assert means["background"] < min(means[tissue] for tissue in tissues)
    assert {order[-1] for order in orders} == set(tissues)
    assert len(orders) > 12  # of 24


def test_neighbours_shrink_where_the_ventricle_is_large() -> None:
    volumes = [_volumes_ml(_coarse(seed)) for seed in range(60)]
    ventricle = np.array([v[ph.VENTRICLE] for v in volumes])
    assert ventricle.max() > 5 * ventricle.min()
    for neighbour in (ph.LEFT_MEDIAL, ph.RIGHT_MEDIAL, ph.CORTEX):
        sizes = [v[neighbour] for v in volumes]
        assert np.corrcoef(np.log(ventricle), np.log(sizes))[0, 1] < -0.4


def test_intensity_alone_cannot_tell_some_neighbours_apart() -> None:
    names, class_of_label = TABLE.classes()
    class_of = {int(i): names[c] for i, c in zip(TABLE.ids, class_of_label, strict=True)}
    assert class_of[ph.SHELL] == class_of[ph.VENTRICLE]
    assert class_of[ph.STEM] == class_of[ph.CORE]
    assert class_of[ph.LEFT_LATERAL] == class_of[ph.CORTEX]
    labels = _coarse(0).label_map.data
    touching = np.zeros(256, dtype=int)
    for axis in range(3):
        for step in (-1, 1):
            beside = np.roll(labels, step, axis)[labels == ph.LEFT_LATERAL]
            touching += np.bincount(beside, minlength=256)
    assert touching[ph.CORTEX] > 10


def test_label_table_pairs_sides_and_leaves_the_shell_out() -> None:
    by_id = {label.id: label for label in TABLE.labels}
    assert by_id[ph.LEFT_MEDIAL].partner_id == ph.RIGHT_MEDIAL
    assert by_id[ph.RIGHT_LATERAL].partner_id == ph.LEFT_LATERAL
    assert by_id[ph.VENTRICLE].partner_id == ph.VENTRICLE
    not_structures = [label.id for label in TABLE.labels if not label.is_structure]
    assert not_structures == [0, ph.SHELL]
