"""Affines in files, read back by the libraries whose formats they are: the same points."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from seg_prior.core.grid import Grid, apply_affine
from seg_prior.io.transforms import Place, write_itk_transform, write_lta
from tests.io.formats.awkward import AFFINES, LPS_FROM_RAS, SHAPE

PRIOR_FROM_NATIVE = np.array(
    [[1.1, 0.1, -0.05, 5.0], [-0.1, 0.95, 0.2, -7.0], [0.02, -0.15, 1.05, 11.0], [0, 0, 0, 1]]
)
PRIOR = Grid((50, 60, 70), np.diag([2.0, 2.0, 2.0, 1.0]))
NATIVE_MM = np.random.default_rng(0).uniform(-120, 120, (50, 3))
PRIOR_MM = apply_affine(PRIOR_FROM_NATIVE, NATIVE_MM)
MAX_MM = 0.01


@pytest.fixture(params=AFFINES)
def files(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, Path, Grid]:
    """The transform of a scan on an awkward grid: .tfm, .lta, the grid."""
    grid = Grid(SHAPE, AFFINES[request.param])
    tfm, lta = tmp_path / "a.tfm", tmp_path / "a.lta"
    write_itk_transform(tfm, PRIOR_FROM_NATIVE)
    write_lta(lta, PRIOR_FROM_NATIVE, Place("my scan.nii.gz", grid), Place("prior", PRIOR))
    return tfm, lta, grid


def distance_mm(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(one - other, axis=1).max())


def test_simpleitk_takes_points_of_prior_space_to_the_scan(files: tuple[Path, Path, Grid]) -> None:
    transform = sitk.ReadTransform(str(files[0]))
    lps = apply_affine(LPS_FROM_RAS, PRIOR_MM)
    found = np.array([transform.TransformPoint(point.tolist()) for point in lps])
    assert distance_mm(apply_affine(LPS_FROM_RAS, found), NATIVE_MM) < MAX_MM


def test_nitransforms_takes_both_for_what_resamples_the_scan(
    files: tuple[Path, Path, Grid],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        linear = pytest.importorskip(
            "nitransforms.linear", reason="no nitransforms; pip install 'seg-prior[peers]'"
        )
        read = [linear.load(files[0], fmt="itk"), linear.load(files[1], fmt="fs")]
        for transform in read:
            assert distance_mm(transform.map(PRIOR_MM), NATIVE_MM) < MAX_MM


def test_surfa_takes_points_of_the_scan_to_prior_space(files: tuple[Path, Path, Grid]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        surfa = pytest.importorskip("surfa", reason="no surfa; pip install 'seg-prior[peers]'")
        affine = surfa.load_affine(str(files[1]))
    assert affine.space == "world"
    found = np.array([affine(point) for point in NATIVE_MM])
    assert distance_mm(found, PRIOR_MM) < MAX_MM
    for geometry, grid in ((affine.source, files[2]), (affine.target, PRIOR)):
        assert tuple(geometry.shape) == grid.shape
        if np.allclose(geometry.rotation @ geometry.rotation.T, np.eye(3), atol=1e-6):
            theirs = Grid(grid.shape, geometry.vox2world.matrix)
            assert theirs.same_as(grid, tolerance_voxels=1e-3)
