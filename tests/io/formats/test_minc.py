"""MINC 2, written with h5py and by ITK."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from seg_prior.core.grid import Grid
from seg_prior.io.itk import to_itk
from seg_prior.io.read import read_volume
from tests.io.formats.awkward import RIGID, SHAPE, intensities, refusal

h5py = pytest.importorskip("h5py", reason="no h5py; pip install 'seg-prior[minc]'")


def write_minc(path: Path, data: NDArray[np.int16], affine: NDArray[np.float64]) -> None:
    """A file whose axes are z, y, x, as scanners' converters write them.

    Args:
        path: Ends in .mnc.
        data: (K, J, I).
        affine: (i, j, k) of x, y, z -> mm in RAS+, orthogonal.
    """
    step = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = affine[:3, :3] / step
    start = np.linalg.solve(cosines, affine[:3, 3])

    def mark(item: Any, **attributes: Any) -> None:
        for name, value in attributes.items():
            item.attrs[name] = np.bytes_(value) if isinstance(value, str) else value

    with h5py.File(path, "w") as file:
        dimensions = file.create_group("minc-2.0/dimensions")
        for n, name in enumerate(("xspace", "yspace", "zspace")):
            axis = dimensions.create_dataset(name, (), dtype="i4")
            mark(axis, length=np.int32(data.shape[2 - n]), start=start[n], step=step[n])
            mark(axis, direction_cosines=cosines[:, n], spacing="regular__", units="mm")
        image = file.create_group("minc-2.0/image/0")
        mark(image.create_dataset("image", data=data), dimorder="zspace,yspace,xspace")
        low, high = float(data.min()), float(data.max())
        mark(image["image"], valid_range=np.array([low, high]))
        mark(image.create_dataset("image-min", data=low), dimorder="")
        mark(image.create_dataset("image-max", data=high), dimorder="")


@pytest.mark.parametrize("name", RIGID)
def test_it_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    write_minc(tmp_path / "a.mnc", intensities().transpose(2, 1, 0), RIGID[name])
    volume = read_volume(tmp_path / "a.mnc")
    turned = Grid(SHAPE[::-1], RIGID[name][:, [2, 1, 0, 3]])
    assert volume.grid.same_as(turned, tolerance_voxels=1e-3)
    assert np.array_equal(np.rint(volume.data).transpose(2, 1, 0), intensities())


@pytest.mark.parametrize("name", RIGID)
def test_itk_calls_ras_what_it_calls_lps_elsewhere(tmp_path: Path, name: str) -> None:
    """The same numbers, so that a file that ITK wrote lies turned by 180 degrees about z."""
    grid = Grid(SHAPE, RIGID[name])
    sitk.WriteImage(to_itk(intensities(), grid), str(tmp_path / "a.mnc"))
    volume = read_volume(tmp_path / "a.mnc")
    turned = np.diag([-1.0, -1.0, 1.0, 1.0]) @ RIGID[name]
    backwards = Grid(SHAPE[::-1], turned[:, [2, 1, 0, 3]])
    assert volume.grid.same_as(backwards, tolerance_voxels=1e-3)
    assert np.array_equal(np.rint(volume.data).transpose(2, 1, 0), intensities())


def test_without_h5py_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_minc(tmp_path / "a.mnc", intensities().transpose(2, 1, 0), np.eye(4))
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert refusal(tmp_path / "a.mnc").endswith("Run: pip install 'seg-prior[minc]'")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mnc").write_bytes(b"\x89HDF and no more")
    assert "not a readable MINC image" in refusal(tmp_path / "a.mnc")
    (tmp_path / "b.mnc").write_bytes(b"no image")
    assert "not a readable MINC image" in refusal(tmp_path / "b.mnc")
