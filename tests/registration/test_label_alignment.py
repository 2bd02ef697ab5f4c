import numpy as np
from numpy.typing import NDArray

from seg_prior.core.grid import Affine, apply_affine
from seg_prior.registration.label_alignment import Points, draw_points, sharpen

IS_STRUCTURE = np.array([False, True, True])
SHAPE = (48, 48, 12)
THICK: Affine = np.diag([2.0, 2.0, 8.0, 1.0])  # mm: thick slices
RADIUS_MM = 25.0


def turned(degrees: float, scale: float) -> Affine:
    angle = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[:2, :2] = scale * np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    return affine


def heart(prior_from_native: Affine) -> tuple[NDArray[np.int64], Affine]:
    """An elongated wall around an elongated chamber, both about one centre."""
    grid_affine = THICK.copy()
    grid_affine[:3, 3] = -THICK[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1)
    places = apply_affine(prior_from_native @ grid_affine, index.reshape(-1, 3))
    label_map = np.zeros(len(places), dtype=np.int64)
    for label, radii in ((1, (40, 22, 30)), (2, (28, 12, 20))):
        label_map[np.linalg.norm(places / np.array(radii), axis=1) < 1] = label
    return label_map.reshape(SHAPE), grid_affine


def error_mm(moves: list[Affine], true: list[Affine]) -> float:
    """How far the moves are from one another's frames, after the truth is taken out."""
    corners = np.array([[x, y, z] for x in (-40, 40) for y in (-22, 22) for z in (-30, 30)])
    placed = [
        apply_affine(move @ np.linalg.inv(truth), corners)
        for move, truth in zip(moves, true, strict=True)
    ]
    return float(np.sqrt(np.square(placed - np.mean(placed, axis=0)).sum(axis=2).mean()))


def test_nested_labels_that_centroids_cannot_turn_are_turned() -> None:
    true = [
        turned(degrees, scale) for degrees, scale in ((-16, 0.95), (0, 1.0), (6, 1.05), (12, 1))
    ]
    maps = [heart(one) for one in true]
    points = [draw_points(one, affine, IS_STRUCTURE, seed=3) for one, affine in maps]
    start = [np.eye(4)] * len(maps)
    moves = sharpen(points, start, [True] * len(maps), RADIUS_MM, 3)
    assert error_mm(moves, true) < 0.6 * error_mm(start, true)
    # The frame keeps the group's mean.
    np.testing.assert_allclose(np.mean(moves, axis=0), np.eye(4), atol=0.08)


def test_a_held_out_map_follows_and_has_no_say() -> None:
    true = [turned(degrees, 1.0) for degrees in (-4, 0, 4, 20)]
    maps = [heart(one) for one in true]
    points = [draw_points(one, affine, IS_STRUCTURE, seed=3) for one, affine in maps]
    start = [np.eye(4)] * 4
    moves = sharpen(points, start, [True, True, True, False], RADIUS_MM, 3)
    alone = sharpen(points[:3], start[:3], [True] * 3, RADIUS_MM, 3)
    # Steepest steps amplify rounding; mm and shares, where the held-out map moves by 20 degrees.
    np.testing.assert_allclose(moves[:3], alone, atol=0.2)
    assert error_mm(moves, true) < 0.7 * error_mm(start, true)


def test_points_are_the_labels_where_they_lie() -> None:
    label_map, affine = heart(np.eye(4))
    points = draw_points(label_map, affine, IS_STRUCTURE, seed=0)
    assert isinstance(points, Points)
    index = np.rint(apply_affine(np.linalg.inv(affine), points.place_mm)).astype(int)
    np.testing.assert_array_equal(label_map[tuple(index.T)], points.label)
    assert set(points.label.tolist()) == {0, 1, 2}
