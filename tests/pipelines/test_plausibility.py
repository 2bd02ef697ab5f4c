"""The measures of draws by hand, and a classifier that tells what differs and nothing else."""

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.plausibility import Shape, compare, nearest_dice, shape_of
from experiments.tell_apart import accuracy, features
from seg_prior.metrics.overlap import dice_by_id

LABELS, STRUCTURES, VOXEL_MM3 = 3, [1, 2], 8.0


def ball(radius: float = 5.0, center: float = 8.0) -> NDArray[np.uint8]:
    """(20, 20, 20): label 1 around a core of label 2."""
    distance = np.sqrt(sum((axis - center) ** 2 for axis in np.indices((20, 20, 20))))
    return ((distance < radius).astype(np.uint8) + (distance < radius / 2)).astype(np.uint8)


def measure(label_map: NDArray[np.uint8]) -> Shape:
    return shape_of(label_map, LABELS, STRUCTURES, VOXEL_MM3)


def test_a_shape_by_hand() -> None:
    label_map = np.zeros((6, 6, 6), dtype=np.uint8)
    label_map[1, 1, 1:3] = 1  # two voxels in a row touch background by ten faces
    label_map[3, 3, 3] = 1  # one alone by six
    shape = measure(label_map)
    assert shape.volume_mm3.tolist() == [24.0, 0.0]
    assert shape.components[0] == 2
    assert shape.roughness[0] == pytest.approx(16 / 3)
    assert np.isnan([shape.components[1], shape.roughness[1]]).all()
    assert shape.pairs[0, 1] == 1
    assert shape.pairs.sum() == 1


def test_corners_are_contact_and_the_border_of_the_grid_is_none() -> None:
    label_map = np.zeros((4, 4, 4), dtype=np.uint8)
    label_map[0, 0, 0] = label_map[1, 1, 1] = 1
    shape = measure(label_map)
    assert shape.components[0] == 1
    assert shape.roughness[0] == (3 + 6) / 2


def test_maps_are_like_themselves_and_one_map_again_and_again_is_not() -> None:
    maps = [measure(ball(radius)) for radius in (4.0, 4.5, 5.0, 5.5, 6.0)]
    like = compare(maps, maps)
    assert (like.components, like.worst_components, like.volume_spread) == (1, 1, 1)
    assert (like.volume_distance, like.roughness_distance, like.pairs_distance) == (0, 0, 0)
    assert (like.pairs_within, like.strange_pairs) == (1, 0)
    mean = compare([maps[2]] * 5, maps)
    assert mean.volume_spread == 0
    assert mean.volume_distance >= 0.4
    assert mean.pairs_within == 1


def test_speckle_shows_in_components_neighbours_and_roughness() -> None:
    maps = [ball(radius) for radius in (4.8, 5.0, 5.2)]
    speckled = [label_map.copy() for label_map in maps]
    for label_map in speckled:
        label_map[15:19:2, 15:19:2, 15:19:2] = 2  # a core without its shell
    like = compare([measure(s) for s in speckled], [measure(m) for m in maps])
    assert like.worst_components == 9
    assert like.roughness_distance > 0.3
    assert like.strange_pairs > 0.05  # core beside background
    assert like.pairs_distance >= like.strange_pairs


def test_the_nearest_map_counts() -> None:
    one = ball()
    assert nearest_dice(one, [ball(center=10.0), one], STRUCTURES) == 1
    far = ball(center=10.0)
    by_hand = dice_by_id(one, far)
    expected = (by_hand[1] + by_hand[2]) / 2
    assert nearest_dice(one, [far], STRUCTURES) == pytest.approx(expected)


def test_features_by_hand() -> None:
    crop = np.zeros((3, 3, 3), dtype=np.uint8)
    crop[0, 0, :2] = 1  # two that touch
    crop[2, 2, 2] = 2  # one alone
    found = features(crop, LABELS)
    assert found[:7] == pytest.approx([1 / 3, 2 / 3, 0, 0, 0, 0, 0])
    assert found[7:] == pytest.approx([24 / 27, 2 / 27, 1 / 27])


def test_speckle_is_told_and_where_there_is_nothing_to_tell_it_is_a_guess() -> None:
    rng = np.random.default_rng(0)
    maps = [ball(radius) for radius in rng.uniform(4.4, 5.6, 12)]
    speckled = []
    for label_map in maps:
        noise = rng.random(label_map.shape) < 0.05
        speckled.append(np.where(noise, 1, label_map).astype(np.uint8))
    assert accuracy(speckled, maps, LABELS, seed=0) > 0.95
    assert accuracy(maps[:6], maps[6:], LABELS, seed=0) == pytest.approx(0.5, abs=0.15)
    assert accuracy(speckled, maps, LABELS, 1) == accuracy(speckled, maps, LABELS, 1)
