import math
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_prior.core.grid import Affine, Grid, apply_affine
from seg_prior.registration.affine import Registration, _judge, register

# A small anatomy in prior space: (centre, radii in mm, intensity), later ones over earlier ones.
# No symmetry at all: every turn and reflection shows.
BODY = ((0, 0, 0), (40, 50, 34), 0.6)
PARTS = [
    ((14, 18, 8), (14, 20, 12), 1.0),
    ((-16, 10, 4), (12, 16, 14), 0.3),
    ((8, -20, -8), (18, 12, 10), 0.8),
    ((-12, -22, 12), (10, 10, 8), 1.0),
    ((20, 4, -14), (8, 10, 6), 0.2),
]


@dataclass(frozen=True)
class Scan:
    data: NDArray[np.float32]
    observed: NDArray[np.bool_]
    grid: Grid


def paint(grid: Grid, prior_from_world: Affine) -> NDArray[np.float32]:
    """The anatomy as seen on a grid in a world where it lies elsewhere; smooth edges."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    places = apply_affine(prior_from_world @ grid.affine, index.reshape(-1, 3))
    values = np.zeros(len(places))
    for center, radii, intensity in (BODY, *PARTS):
        depth = 1 - np.linalg.norm((places - center) / np.array(radii), axis=1)
        share = np.clip(depth * min(radii) / 4 + 0.5, 0, 1)
        values += share * (intensity - values)
    return values.reshape(grid.shape).astype(np.float32)


def centered(shape: tuple[int, int, int], affine: Affine) -> Grid:
    affine = affine.copy()
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


PRIOR_GRID = centered((22, 26, 20), np.diag([4.5, 4.5, 4.5, 1.0]))
PAINTED = paint(PRIOR_GRID, np.eye(4))
ANATOMY = PAINTED > 0.1
SPACING_MM = 4.5


def pose(degrees: float, shift_mm: tuple[float, float, float], scale: float) -> Affine:
    """World of the scan -> prior space; with some shear."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = scale * np.array([[cos, -sin, 0.05], [sin, cos, 0], [0, 0.04, 1]])
    affine[:3, 3] = shift_mm
    return affine


def stripped_scan(prior_from_world: Affine, grid: Grid, is_inverted: bool = False) -> Scan:
    values = paint(grid, prior_from_world)
    rng = np.random.default_rng(0)
    observed = values > 0.1
    contrast = 1.4 - values if is_inverted else values
    data = 900 * contrast + rng.normal(0, 20, grid.shape)
    return Scan(np.where(observed, data, 0).astype(np.float32), observed, grid)


def fit(scan: Scan, seed: int = 0) -> Registration:
    return register(scan.data, scan.observed, scan.grid, PAINTED, PRIOR_GRID, ANATOMY, seed)


def error_mm(found: Affine, true: Affine) -> float:
    """Root mean square distance over the anatomy, in the scan's world."""
    points = apply_affine(PRIOR_GRID.affine, np.argwhere(ANATOMY))
    shift = apply_affine(np.linalg.inv(found), points) - apply_affine(np.linalg.inv(true), points)
    return float(np.sqrt((shift**2).sum(axis=1).mean()))


PLAIN = centered((34, 38, 30), np.diag([3.8, 3.8, 3.8, 1.0]))
TILTED = centered(
    (40, 36, 26),
    np.array([[0.0, -3.4, 0.3, 0], [3.4, 0, 0.4, 0], [0.2, 0.1, -5, 0], [0, 0, 0, 1]]),
)


@pytest.mark.parametrize("is_inverted", [False, True])
def test_a_known_affine_is_recovered_whatever_the_contrast(is_inverted: bool) -> None:
    true = pose(12, (6, -9, 4), 1.08)
    found = fit(stripped_scan(true, PLAIN, is_inverted))
    assert error_mm(np.eye(4), true) > 2 * SPACING_MM
    assert error_mm(found.prior_from_native, true) < SPACING_MM / 2
    assert found.view == "stripped"
    assert found.overlap > 0.9
    assert found.mutual_information > 0.5
    assert found.warnings == ()


def test_far_off_and_on_an_oblique_sheared_grid() -> None:
    true = pose(-35, (40, 10, -25), 0.9)
    middle = apply_affine(np.linalg.inv(true), np.zeros((1, 3)))[0]
    affine = TILTED.affine.copy()
    affine[:3, 3] += middle
    found = fit(stripped_scan(true, Grid(TILTED.shape, affine)))
    assert error_mm(found.prior_from_native, true) < SPACING_MM / 2
    assert found.warnings == ()


def test_an_orientation_the_header_states_wrongly_is_found_and_said() -> None:
    scan = stripped_scan(pose(5, (0, 0, 0), 1), PLAIN)
    quarter = np.array([[0.0, -1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])
    wrong = Scan(scan.data, scan.observed, Grid(PLAIN.shape, quarter @ PLAIN.affine))
    found = fit(wrong)
    true = pose(5, (0, 0, 0), 1) @ np.linalg.inv(quarter)
    assert error_mm(found.prior_from_native, true) < SPACING_MM / 2
    assert any("header" in warning for warning in found.warnings)


def test_the_anatomy_is_found_amid_other_tissue() -> None:
    true = pose(8, (-5, 6, 3), 0.95)
    grid = centered((42, 48, 42), np.diag([4.0, 4.0, 4.0, 1.0]))
    values = paint(grid, true)
    rng = np.random.default_rng(0)
    blocks = rng.uniform(0.1, 1, (7, 8, 7)).repeat(6, 0).repeat(6, 1).repeat(6, 2)
    data = np.where(values > 0.1, values, blocks) + rng.normal(0, 0.03, grid.shape)
    scan = Scan(data.astype(np.float32), np.ones(grid.shape, dtype=bool), grid)
    found = fit(scan)
    assert error_mm(found.prior_from_native, true) < SPACING_MM / 2
    assert math.isnan(found.overlap)
    assert found.view == "whole"


def test_the_same_seed_gives_the_same_bits() -> None:
    scan = stripped_scan(pose(12, (6, -9, 4), 1.08), PLAIN)
    first, second = fit(scan, seed=3), fit(scan, seed=3)
    np.testing.assert_array_equal(first.prior_from_native, second.prior_from_native)
    assert first.mutual_information == second.mutual_information
    assert not np.array_equal(first.prior_from_native, fit(scan, seed=4).prior_from_native)


def test_reorienting_the_array_changes_nothing_in_the_world() -> None:
    scan = stripped_scan(pose(12, (6, -9, 4), 1.08), PLAIN)
    affine = PLAIN.affine[:, [2, 0, 1, 3]]
    affine[:3, 3] += affine[:3, 0] * (PLAIN.shape[2] - 1)
    affine[:3, 0] *= -1
    i, j, k = (PLAIN.shape[axis] for axis in (2, 0, 1))

    def turned(data: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.flip(data.transpose(2, 0, 1), 0)

    other = Scan(turned(scan.data), turned(scan.observed), Grid((i, j, k), affine))  # type: ignore[arg-type]
    first, second = fit(scan), fit(other)
    assert error_mm(second.prior_from_native, first.prior_from_native) < 1e-3


def test_an_image_of_noise_is_doubtful() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(100, 10, PLAIN.shape).astype(np.float32)
    found = fit(Scan(data, np.ones(PLAIN.shape, dtype=bool), PLAIN))
    assert any("tells only" in warning for warning in found.warnings)
    assert found.failure is not None
    assert "tells only" in found.failure


def test_what_is_doubtful_is_not_yet_a_failure() -> None:
    small = fit(stripped_scan(pose(0, (0, 0, 0), 1.6), PLAIN))
    assert any("times the prior's size" in warning for warning in small.warnings)
    assert small.failure is None
    scan = stripped_scan(np.eye(4), PLAIN)
    speck = Grid(PLAIN.shape, np.diag([0.1, 0.1, 0.1, 1.0]) @ PLAIN.affine)
    found = fit(Scan(scan.data, scan.observed, speck))
    assert found.failure is not None
    assert "times the prior's size" in found.failure


def test_half_an_anatomy_and_a_wrong_outline_are_doubtful() -> None:
    scan = stripped_scan(np.eye(4), PLAIN)
    observed = scan.observed.copy()
    observed[:, 18:] = False
    found = fit(Scan(np.where(observed, scan.data, 0), observed, PLAIN))
    assert any("outline" in warning or "size" in warning for warning in found.warnings)


class _OneIntensity:
    """A level whose field of view shows one expected intensity."""

    native = SimpleNamespace(is_stripped=False)

    def joint(self, _: Affine) -> tuple[Affine, Affine]:
        counts = np.zeros((1, 4, 4))
        counts[0, 2, 1] = 90.0
        return counts, np.array([0.1])

    def information(self, _: Affine) -> Affine:
        return np.zeros(1)


def test_a_view_of_one_intensity_tells_nothing() -> None:
    found = _judge(_OneIntensity(), "whole", np.eye(4), is_odd=False)
    assert any("the image tells only 0% of the expected image" in text for text in found.warnings)
