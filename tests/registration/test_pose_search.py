import numpy as np
import pytest
from numpy.typing import NDArray

from seg_prior.core.grid import Affine, Grid, apply_affine
from seg_prior.registration.affine import register
from seg_prior.registration.pose_search import (
    NUM_INDEPENDENT,
    NUM_SEEN,
    LocatorPose,
    PoseCandidate,
    PoseGuide,
    PosePrior,
    fit_pose,
    select_pose,
)
from seg_prior.registration.pyramid import (
    Level,
    native_image,
    prior_image,
    pyramid_levels,
)
from tests.registration.test_affine import (
    ANATOMY,
    PAINTED,
    PRIOR_GRID,
    SPACING_MM,
    centered,
    error_mm,
    paint,
    pose,
)

CROP = centered((34, 38, 30), np.diag([3.8, 3.8, 3.8, 1.0]))


def test_the_pose_is_what_lies_between_the_middle_of_the_image_and_the_anatomy() -> None:
    moved: Affine = np.eye(4)
    moved[:3, 3] = 5.0, 0.0, -2.0  # native -> prior
    grid = Grid(CROP.shape, CROP.affine @ np.diag([1.0, 1, 1, 1]))
    prior = fit_pose([moved, moved], [grid, grid], radius_mm=30.0)
    (mean,) = prior.poses(np.zeros((1, 12)), grid.center_mm)
    np.testing.assert_allclose(mean, np.linalg.inv(moved), atol=1e-9)
    far = prior.poses(np.zeros((1, 12)), np.array([100.0, 0, 0]))[0]
    np.testing.assert_allclose(far[:3, 3] - mean[:3, 3], [100, 0, 0], atol=1e-9)


def test_poses_drawn_have_the_spread_of_the_maps() -> None:
    rng = np.random.default_rng(0)
    moves = []
    for shift_mm in rng.normal(0, (8, 1, 1), (200, 3)):
        move = np.eye(4)
        move[:3, 3] = shift_mm
        moves.append(move)
    prior = fit_pose(moves, [CROP] * 200, radius_mm=20.0)
    drawn = prior.poses(rng.standard_normal((4000, 12)), CROP.center_mm)
    assert drawn[:, 0, 3].std() == pytest.approx(8.4, rel=0.1)
    assert drawn[:, 1, 3].std() == pytest.approx(1.45, rel=0.1)  # its own 1, and the floor
    assert drawn[:, 0, 0].std() == pytest.approx(0.03, rel=0.1)


def test_one_map_gives_a_pose_prior_of_the_floor_alone() -> None:
    prior = fit_pose([np.eye(4)], [CROP], radius_mm=20.0)
    np.testing.assert_allclose(np.diag(np.array(prior.factor)), [0.03] * 9 + [1.0] * 3)


@pytest.fixture(scope="module")
def prior() -> PosePrior:
    """Of anatomies that lie off the middle of their crops, in 30 ways."""
    rng = np.random.default_rng(0)
    moves = [
        pose(rng.normal(6, 6), tuple(rng.normal((20, -8, 0), 5)), rng.normal(1, 0.05))
        for _ in range(30)
    ]
    return fit_pose(moves, [CROP] * 30, radius_mm=35.0)


def test_an_organ_amid_tissue_is_found_where_label_maps_say(prior: PosePrior) -> None:
    true = pose(9, (25, -10, 3), 1.04)
    values = paint(CROP, true)
    rng = np.random.default_rng(1)
    blocks = rng.uniform(0.1, 1, (6, 7, 5)).repeat(6, 0).repeat(6, 1).repeat(6, 2)
    data = np.where(values > 0.1, values, blocks[:34, :38, :30])
    data = (data + rng.normal(0, 0.03, CROP.shape)).astype(np.float32)
    observed = np.ones(CROP.shape, dtype=bool)
    found = register(data, observed, CROP, PAINTED, PRIOR_GRID, ANATOMY, 0, PoseGuide(prior))
    start = np.linalg.inv(prior.poses(np.zeros((1, 12)), CROP.center_mm)[0])
    assert error_mm(start, true) > SPACING_MM
    assert error_mm(found.prior_from_native, true) < 0.7 * SPACING_MM
    again = register(data, observed, CROP, PAINTED, PRIOR_GRID, ANATOMY, 0, PoseGuide(prior))
    np.testing.assert_array_equal(found.prior_from_native, again.prior_from_native)


def test_noise_stays_near_the_mean_pose(prior: PosePrior) -> None:
    data = np.random.default_rng(2).normal(0, 1, CROP.shape).astype(np.float32)
    observed = np.ones(CROP.shape, dtype=bool)
    found = register(data, observed, CROP, PAINTED, PRIOR_GRID, ANATOMY, 0, PoseGuide(prior))
    mean = prior.poses(np.zeros((1, 12)), CROP.center_mm)[0]
    points = apply_affine(PRIOR_GRID.affine, np.argwhere(ANATOMY))
    away = apply_affine(np.linalg.inv(found.prior_from_native), points) - apply_affine(mean, points)
    assert np.sqrt((away**2).sum(axis=1).mean()) < 25
    assert any("tells only" in warning for warning in found.warnings)


def test_standard_numbers_are_those_a_pose_is_made_of(prior: PosePrior) -> None:
    u = np.random.default_rng(3).standard_normal(12)
    made = prior.poses(u[None], CROP.center_mm)[0]
    np.testing.assert_allclose(prior.standard(made, CROP.center_mm), u, atol=1e-9)


def test_what_is_seen_joins_the_search(prior: PosePrior) -> None:
    """Noise tells nothing of the pose: it lies where a network sees the anatomy."""
    data = np.random.default_rng(2).normal(0, 1, CROP.shape).astype(np.float32)
    observed = np.ones(CROP.shape, dtype=bool)
    u = np.zeros(12)
    u[9:] = 1.5, -1.5, 1.0
    seen = prior.poses(u[None], CROP.center_mm)[0]
    calls, warned = [], list[bool]()

    def nats(poses: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(-((poses - seen)[:, :3] ** 2).sum((1, 2)) / 20)

    def locate(*shown: object) -> LocatorPose:
        calls.append(shown)
        return LocatorPose(u, nats)

    def error(guide: PoseGuide) -> float:
        found = register(data, observed, CROP, PAINTED, PRIOR_GRID, ANATOMY, 0, guide)
        warned.append(any("the locator sees hardly any" in text for text in found.warnings))
        return float(np.linalg.norm((np.linalg.inv(found.prior_from_native) - seen)[:3, 3]))

    assert error(PoseGuide(prior, locate=locate)) < 2.5
    assert len(calls) == 1
    assert error(PoseGuide(prior)) > 5.0
    nothing = PoseGuide(prior, locate=lambda *shown: None)
    assert error(nothing) == error(PoseGuide(prior))
    assert warned == [False, False, True, False]


def level_of(native_from_prior: Affine) -> Level:
    """What registration compares where the expected anatomy lies in a crop."""
    values = paint(CROP, np.linalg.inv(native_from_prior))
    size_mm = float(np.cbrt(ANATOMY.sum()) * SPACING_MM)
    prior_mm3 = float(ANATOMY.sum()) * SPACING_MM**3
    return pyramid_levels(
        prior_image(PAINTED, PRIOR_GRID, ANATOMY),
        native_image(values, np.ones(CROP.shape, dtype=bool), CROP, prior_mm3),
        size_mm,
        size_mm / 7,
    )[0]


def test_a_sighting_weighs_on_the_way() -> None:
    level = level_of(np.eye(4))
    here, there = np.eye(4), np.eye(4)
    there[0, 3] = 12.0
    lost = float(-np.diff(level.information(np.stack([here, there])))[0])
    pose_path = [PoseCandidate(here, np.zeros(12), 0.0), PoseCandidate(there, np.zeros(12), 0.0)]

    def seen_at(pose: Affine, gain: float) -> LocatorPose:
        def nats(poses: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.array([gain * float(np.array_equal(one, pose)) for one in poses])

        return LocatorPose(np.zeros(12), nats)

    needed = NUM_INDEPENDENT * lost / NUM_SEEN
    np.testing.assert_array_equal(select_pose(level, pose_path, seen_at(there, 0.9 * needed)), here)
    np.testing.assert_array_equal(
        select_pose(level, pose_path, seen_at(there, 1.1 * needed)), there
    )


def test_a_pose_is_settled_by_information_likelihood_and_prior_together() -> None:
    true = np.linalg.inv(pose(9, (25, -10, 3), 1.04))
    level = level_of(true)
    away = true.copy()
    away[:3, 3] += 12.0
    lost = float(np.diff(level.information(np.stack([away, true])))[0])
    assert lost > 0.05
    nowhere = np.zeros(12)
    for gained, expected in ((0.9 * lost, true), (1.1 * lost, away)):
        pose_path = [PoseCandidate(true, nowhere, 0.0), PoseCandidate(away, nowhere, gained)]
        np.testing.assert_array_equal(select_pose(level, pose_path, None), expected)
    # A likelier pose that the label maps never showed.
    odd = np.full(12, np.sqrt(2 * NUM_INDEPENDENT * lost / 12))
    pose_path = [PoseCandidate(true, nowhere, 0.0), PoseCandidate(away, odd, 1.1 * lost)]
    np.testing.assert_array_equal(select_pose(level, pose_path, None), true)
