"""Units, and voxels that are no boxes of any use."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from seg_prior.errors import ImageError
from seg_prior.io.formats.nifti import write_series
from seg_prior.io.read import as_volume, read_label_map, read_volume
from seg_prior.io.write import write_volume

SHAPE = (5, 6, 7)
IDS = np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.uint8)
AFFINE = np.array([[0.0, 0, -2, 30], [-1, 0, 0, 20], [0, 1.5, 0, -10], [0, 0, 0, 1]])


def saved(path: Path, affine: Any = AFFINE, unit: str = "mm", data: Any = IDS) -> Path:
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units(unit, "sec")
    nib.save(image, path)
    return path


@pytest.mark.parametrize(("unit", "per_mm"), [("meter", 1e-3), ("micron", 1e3)])
def test_units_of_the_header_are_honoured_and_kept(
    tmp_path: Path, unit: str, per_mm: float
) -> None:
    scaled = np.diag([per_mm, per_mm, per_mm, 1]) @ AFFINE
    volume = read_volume(saved(tmp_path / "a.nii.gz", scaled, unit))
    assert volume.grid.same_as(read_volume(saved(tmp_path / "mm.nii.gz")).grid)
    assert volume.grid.voxel_volume_mm3 == pytest.approx(3.0, rel=1e-6)
    write_volume(tmp_path / "out.nii.gz", IDS, volume)
    written = nib.load(tmp_path / "out.nii.gz")
    assert written.header.get_xyzt_units() == (unit, "sec")
    assert np.allclose(written.affine, scaled, rtol=1e-5)
    assert read_label_map(tmp_path / "out.nii.gz").grid.same_as(volume.grid)
    write_volume(tmp_path / "out.mgz", IDS, volume)  # which knows no unit but mm
    assert read_label_map(tmp_path / "out.mgz").grid.same_as(volume.grid)


def test_probabilities_of_labels_are_no_points_in_time(tmp_path: Path) -> None:
    volume = read_volume(saved(tmp_path / "a.nii.gz", unit="micron"))
    write_series(tmp_path / "p.nii.gz", [IDS / 4] * 3, 3, volume)
    assert nib.load(tmp_path / "p.nii.gz").header.get_xyzt_units() == ("micron", "unknown")


@pytest.mark.parametrize(
    ("linear", "message"),
    [
        (np.diag([1e-8, 1e-8, 1e-8]), r"found voxels of 1e-08 x 1e-08 x 1e-08 mm, need 1e-06 to"),
        (np.diag([1e5, 1e5, 1e5]), r"found voxels of 1e\+05 x 1e\+05 x 1e\+05 mm, need 1e-06 to"),
        (np.diag([1, 1, 1e-4]), r"1 x 1 x 0.0001 mm that are flat or sheared 1e\+04 to 1, need"),
        (np.diag([1, 1, 1]) + np.eye(3, k=1) * 100, r"flat or sheared 1e\+06 to 1"),
        (np.diag([1, 1, 0.0]), "its affine is singular"),
        (np.full((3, 3), np.nan), "its affine is singular"),
    ],
)
def test_voxels_of_no_use_are_refused(linear: Any, message: str) -> None:
    affine = np.eye(4)
    affine[:3, :3] = linear
    with pytest.raises(ImageError, match=message):
        as_volume(IDS, affine)


def test_the_unit_is_told_where_it_is_what_makes_no_sense(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii.gz", 20 * AFFINE, "meter")
    with pytest.raises(ImageError, match=r"2e\+04 x 3e\+04 .*\(its header counts in 1000 mm\)"):
        read_volume(path)


def test_a_place_beyond_all_machines_is_refused() -> None:
    affine = np.eye(4)
    affine[0, 3] = 1e9
    with pytest.raises(ImageError, match=r"its first voxel lies 1e\+09 mm from the origin"):
        as_volume(IDS, affine)


def test_a_header_that_names_no_side_says_that_sides_are_a_guess(tmp_path: Path) -> None:
    image = nib.Nifti1Image(IDS, None)
    image.header.set_zooms((1, 1, 1))
    nib.save(image, tmp_path / "a.nii.gz")
    (warning,) = read_volume(tmp_path / "a.nii.gz").warnings
    assert "(sform and qform code 0), so sides are a guess" in warning
    assert read_volume(saved(tmp_path / "b.nii.gz")).warnings == ()
    nib.save(nib.MGHImage(IDS, AFFINE), tmp_path / "a.mgh")
    assert read_volume(tmp_path / "a.mgh").warnings == ()
    raw = bytearray((tmp_path / "a.mgh").read_bytes())
    raw[28:30] = b"\0\0"  # goodRASFlag
    (tmp_path / "a.mgh").write_bytes(raw)
    (warning,) = read_volume(tmp_path / "a.mgh").warnings
    assert "(goodRASFlag 0), so sides are a guess" in warning


@pytest.mark.parametrize("top", [17, 2035])
def test_ids_through_a_scale_factor_are_read(tmp_path: Path, top: int) -> None:
    ids = np.zeros(SHAPE, np.uint16)
    ids[1], ids[2], ids[3] = 3, 7, top
    nib.save(nib.Nifti1Image(ids, np.eye(4)), tmp_path / "old.nii.gz")
    old = nib.load(tmp_path / "old.nii.gz")
    nib.save(nib.Nifti1Image(old.get_fdata(), old.affine, old.header), tmp_path / "new.nii.gz")
    stored = nib.load(tmp_path / "new.nii.gz").get_fdata()
    assert not np.array_equal(stored, ids)  # 2.999999999, or 3.01
    assert np.array_equal(read_label_map(tmp_path / "new.nii.gz").data, ids)


def test_shares_through_a_scale_factor_are_no_ids(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.linspace(0, 1, IDS.size).reshape(SHAPE), np.eye(4))
    image.set_data_dtype(np.uint8)
    nib.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(ImageError, match="values that are not whole numbers"):
        read_label_map(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    "dtype", [np.float16, np.bool_, np.longdouble, ">i2", np.int64, np.uint64, np.float64]
)
def test_arrays_of_every_real_type_are_read(dtype: Any) -> None:
    volume = as_volume((IDS > 1).astype(dtype), AFFINE)
    assert np.array_equal(volume.data, IDS > 1)
    torch.from_numpy(volume.data)  # raises for what the network's side does not know


def test_tensors_are_read_or_refused_in_our_words() -> None:
    tensor = torch.rand(SHAPE, requires_grad=True)
    assert np.array_equal(as_volume(tensor, AFFINE).data, tensor.detach().numpy())
    assert as_volume(tensor.tolist(), AFFINE).data.shape == SHAPE
    with pytest.raises(ImageError, match="found a Tensor that is no array of numbers"):
        as_volume(tensor.bfloat16(), AFFINE)
    with pytest.raises(ImageError, match="need real numbers"):
        as_volume(np.full(SHAPE, "a"), AFFINE)
    with pytest.raises(ImageError, match=r"affine: found the shape \(3, 3\), need \(4, 4\)"):
        as_volume(IDS, np.eye(3))
    with pytest.raises(ImageError, match="affine: found no numbers"):
        as_volume(IDS, "RAS")


def test_a_volume_is_taken_as_it_is_and_needs_no_affine() -> None:
    volume = as_volume(IDS, AFFINE)
    assert as_volume(volume) is volume
    with pytest.raises(ImageError, match="found a Volume with an affine, need one with an array"):
        as_volume(volume, AFFINE)


@pytest.mark.parametrize("more", [(1,), (1, 1), (1, 1, 1)])
def test_singleton_axes_are_dropped(tmp_path: Path, more: tuple[int, ...]) -> None:
    path = saved(tmp_path / "a.nii.gz", data=IDS.reshape(SHAPE + more))
    assert np.array_equal(read_volume(path).data, IDS)
    series = np.stack([IDS, IDS + 1], axis=-1).reshape((*SHAPE, 2, *more))
    path = saved(tmp_path / "b.nii.gz", data=series)
    assert np.array_equal(read_volume(path, index=1).data, IDS + 1)
