import numpy as np
from numpy.typing import NDArray

from seg_prior.core.grid import Affine
from seg_prior.registration.groupwise import find_landmarks
from seg_prior.registration.laterality import Sides, find_sides

AFFINE: Affine = np.array([[1.5, 0, 0, -31], [0, 1.5, 0, 4], [0, 0, 1.5, -9], [0, 0, 0, 1]])
SHAPE = (40, 36, 30)


def balls(*parts: tuple[int, tuple[float, float, float], float]) -> NDArray[np.int64]:
    """(label, centre, radius) in voxels, later ones over earlier ones."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1)
    label_map = np.zeros(SHAPE, dtype=np.int64)
    for label, center, radius in parts:
        label_map[np.linalg.norm(index - center, axis=-1) < radius] = label
    return label_map


def sides_of(maps: list[NDArray[np.int64]]) -> Sides:
    is_structure = np.array([False, True, True, True, True, True])
    marks = [find_landmarks(one, AFFINE, is_structure) for one in maps]
    return find_sides(maps, [AFFINE] * len(maps), marks, is_structure)


def head(shift: float) -> NDArray[np.int64]:
    """A midline ball, two large and two small ones beside it, of slightly unequal size."""
    return balls(
        (1, (20, 18, 15), 7),
        (2, (10 + shift, 18, 15), 5),
        (4, (30, 18, 15 + shift), 5.3),
        (3, (13, 28, 20), 3),
        (5, (27, 28, 20), 3),
    )


def test_pairs_are_found_and_the_midline_stays_alone() -> None:
    sides = sides_of([head(0.0), head(0.4), head(-0.4)])
    assert sides.partner.tolist() == [0, 1, 4, 5, 2, 3]
    assert sides.agreement > 0.75


def test_a_file_written_right_to_left_has_the_same_sides() -> None:
    flipped: Affine = AFFINE.copy()
    flipped[:3, 3] += flipped[:3, 0] * (SHAPE[0] - 1)
    flipped[:3, 0] *= -1
    one = np.ascontiguousarray(head(0.0)[::-1])
    is_structure = np.array([False, True, True, True, True, True])
    marks = [find_landmarks(one, flipped, is_structure)]
    assert find_sides([one], [flipped], marks, is_structure).partner.tolist() == [0, 1, 4, 5, 2, 3]


def test_neighbours_of_unequal_surroundings_are_no_sides() -> None:
    # Two chambers of one size: but only one of them lies in a wall.
    heart = balls((3, (26, 18, 15), 8), (1, (13, 18, 15), 5), (2, (26, 18, 15), 5))
    sides = sides_of([heart])
    assert sides.partner.tolist() == list(range(6))
    assert sides.agreement < 0.5


def test_labels_one_behind_the_other_are_no_sides() -> None:
    sides = sides_of([balls((1, (20, 10, 15), 5), (2, (20, 24, 15), 5))])
    assert sides.partner.tolist() == list(range(6))
