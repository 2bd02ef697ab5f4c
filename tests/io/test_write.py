"""Writing volumes: awkward headers come home as they were, and ids as they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from seg_prior.core.grid import Grid
from seg_prior.core.volume import Volume
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.io.write import write_volume
from tests.io.formats.awkward import RIGID, SHAPE, SHEARED, affine_of

AFFINES = RIGID | {"micrometres": affine_of(np.diag([4e-4, 4e-4, 1e-3]))}


def codes_of(sform_code: int, qform_code: int, affine: NDArray[np.float64]) -> nib.Nifti1Image:
    image = nib.Nifti1Image(intensities(), None)
    image.set_qform(affine, qform_code)
    image.set_sform(affine if sform_code else None, sform_code)
    return image


def sheared() -> nib.Nifti1Image:
    image = nib.Nifti1Image(intensities(), None)
    image.set_sform(SHEARED["sheared"], 4)
    return image


def two_places() -> nib.Nifti1Image:
    image = codes_of(2, 1, AFFINES["oblique"])
    image.set_qform(AFFINES["flipped"], 1)
    return image


HEADERS: dict[str, Callable[[], Any]] = {
    **{
        name: lambda affine=affine: codes_of(1, 1, affine)  # type: ignore[misc]
        for name, affine in AFFINES.items()
    },
    "sheared": sheared,
    "both codes zero": lambda: codes_of(0, 0, np.diag([2.0, 3.0, 4.0, 1.0])),
    "qform only": lambda: codes_of(0, 3, AFFINES["anisotropic"]),
    "sform and qform apart": two_places,
    "NIfTI-2": lambda: nib.Nifti2Image(intensities(), AFFINES["oblique"]),
}


def intensities() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)


def label_map() -> NDArray[np.int32]:
    return np.random.default_rng(1).integers(0, 4, SHAPE).astype(np.int32)


def save(folder: Path, image: Any, name: str = "image.nii.gz") -> Path:
    nib.save(image, folder / name)
    return folder / name


def saved(folder: Path, data: NDArray[Any]) -> Path:
    return save(folder, nib.Nifti1Image(data, np.eye(4)))


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_a_label_map_goes_home_with_its_header(tmp_path: Path, header: str, suffix: str) -> None:
    image = HEADERS[header]()
    unit, mm = ("mm", 1.0) if header == "micrometres" else ("micron", 1e-3)
    image.header.set_xyzt_units(unit, "sec")
    volume = read_volume(save(tmp_path, image))
    path = tmp_path / f"result{suffix}"
    write_volume(path, label_map(), volume)

    written = nib.load(path)
    assert written.get_data_dtype() == np.uint8
    assert np.array_equal(np.asanyarray(written.dataobj), label_map())
    in_mm = np.diag([mm, mm, mm, 1.0]) @ written.affine
    np.testing.assert_allclose(in_mm, volume.grid.affine, rtol=0, atol=1e-5)
    for form in ("get_sform", "get_qform"):
        before, code_before = getattr(image.header, form)(coded=True)
        after, code_after = getattr(written.header, form)(coded=True)
        assert code_after == code_before
        np.testing.assert_allclose(
            *(np.nan if m is None else m for m in (after, before)), rtol=0, atol=1e-5
        )
    assert written.header.get_xyzt_units() == (unit, "sec")
    again = read_label_map(path)
    assert again.grid.shape == volume.grid.shape
    assert again.grid.same_as(volume.grid, tolerance_voxels=1e-4)
    assert np.array_equal(again.data, label_map())


@pytest.mark.parametrize("name", [*AFFINES, *SHEARED])
def test_mgz_goes_home_too(tmp_path: Path, name: str) -> None:
    affine = (AFFINES | SHEARED)[name]
    volume = read_volume(save(tmp_path, nib.MGHImage(intensities(), affine), "image.mgz"))
    np.testing.assert_allclose(volume.grid.affine, affine, rtol=0, atol=1e-4)
    for suffix in (".mgz", ".nii.gz"):
        write_volume(tmp_path / f"result{suffix}", label_map(), volume)
        again = read_label_map(tmp_path / f"result{suffix}")
        assert again.grid.same_as(volume.grid, tolerance_voxels=1e-3)
        assert np.array_equal(again.data, label_map())


@pytest.mark.parametrize("suffix", [".nii.gz", ".mgz"])
@pytest.mark.parametrize("largest", [255, 256, 65535, 65536, 614454277])
def test_ids_are_never_cut_to_a_small_type(tmp_path: Path, suffix: str, largest: int) -> None:
    ids = np.zeros(SHAPE, dtype=np.int64)
    ids[1, 2, 3] = largest
    path = tmp_path / f"result{suffix}"
    write_volume(path, ids, Volume(ids, Grid(SHAPE, np.eye(4))))
    assert np.array_equal(read_label_map(path).data, ids)


def test_intensities_are_written_as_float32(tmp_path: Path) -> None:
    volume = read_volume(saved(tmp_path, np.arange(210, dtype=np.int16).reshape(SHAPE)))
    write_volume(tmp_path / "deep" / "result.nii", volume.data / 7.0, volume)
    again = read_volume(tmp_path / "deep" / "result.nii")
    assert again.data.dtype == np.float32
    np.testing.assert_allclose(again.data, volume.data / 7.0, rtol=1e-6)


def test_scaled_integers_are_read_as_intensities_and_scaled_no_more(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(210, dtype=np.int16).reshape(SHAPE), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    volume = read_volume(save(tmp_path, image))
    assert volume.data.max() == 0.5 * 209 + 10
    write_volume(tmp_path / "result.nii.gz", label_map(), volume)
    assert np.array_equal(read_label_map(tmp_path / "result.nii.gz").data, label_map())


def test_a_singleton_fourth_axis_is_dropped(tmp_path: Path) -> None:
    volume = read_volume(saved(tmp_path, intensities()[..., None]))
    assert volume.data.shape == volume.grid.shape == SHAPE
    write_volume(tmp_path / "result.nii.gz", label_map(), volume)
    assert nib.load(tmp_path / "result.nii.gz").shape == SHAPE


@pytest.mark.parametrize(("unit", "per_mm"), [("meter", 1e-3), ("micron", 1e3)])
def test_units_of_the_header_are_honoured_and_kept(
    tmp_path: Path, unit: str, per_mm: float
) -> None:
    scaled = np.diag([per_mm, per_mm, per_mm, 1]) @ AFFINES["permuted"]
    image = nib.Nifti1Image(label_map(), scaled)
    image.header.set_xyzt_units(unit, "sec")
    volume = read_volume(save(tmp_path, image))
    assert volume.grid.same_as(Grid(SHAPE, AFFINES["permuted"]))
    assert volume.grid.voxel_volume_mm3 == pytest.approx(3.0, rel=1e-6)
    write_volume(tmp_path / "out.nii.gz", label_map(), volume)
    written = nib.load(tmp_path / "out.nii.gz")
    assert written.header.get_xyzt_units() == (unit, "sec")
    assert np.allclose(written.affine, scaled, rtol=1e-5)
    assert read_label_map(tmp_path / "out.nii.gz").grid.same_as(volume.grid)
    write_volume(tmp_path / "out.mgz", label_map(), volume)  # which knows no unit but mm
    assert read_label_map(tmp_path / "out.mgz").grid.same_as(volume.grid)
