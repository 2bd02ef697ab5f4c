"""Reading and writing volumes: awkward headers come home as they were, wrong files are refused."""

import gzip
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from seg_prior.core.grid import Grid
from seg_prior.core.volume import Volume
from seg_prior.errors import ImageError
from seg_prior.files import atomic_write
from seg_prior.io.formats import strip_suffix
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.io.write import write_volume

SHAPE = (5, 6, 7)


def rotation(degrees: float) -> NDArray[np.float64]:
    """About an axis that is none of i, j, k."""
    x, y, z = np.array([1.0, 2.0, 3.0]) / math.sqrt(14)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = math.radians(degrees)
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def affine_of(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = linear, (-31.5, 12.25, 80.0)
    return affine


AFFINES = {
    "oblique": affine_of(rotation(25)),
    "flipped": affine_of(np.diag([-1.0, 1.0, 1.0])),
    "permuted": affine_of(np.array([[0.0, 0, -2], [-1, 0, 0], [0, 1.5, 0]])),
    "anisotropic": affine_of(rotation(-70) @ np.diag([0.8, 1.1, 9.0])),
    "micrometres": affine_of(np.diag([4e-4, 4e-4, 1e-3])),
}
SHEARED = affine_of(np.array([[1.0, 0.3, 0], [0, 1.2, 0.2], [0, 0, 2]]))


def codes_of(sform_code: int, qform_code: int, affine: NDArray[np.float64]) -> nib.Nifti1Image:
    image = nib.Nifti1Image(intensities(), None)
    image.set_qform(affine, qform_code)
    image.set_sform(affine if sform_code else None, sform_code)
    return image


def sheared() -> nib.Nifti1Image:
    image = nib.Nifti1Image(intensities(), None)
    image.set_sform(SHEARED, 4)
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


@pytest.mark.parametrize("name", [*AFFINES, "sheared"])
def test_mgz_goes_home_too(tmp_path: Path, name: str) -> None:
    affine = AFFINES.get(name, SHEARED)
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


def test_forms_that_disagree_are_told_and_the_sform_is_used(tmp_path: Path) -> None:
    volume = read_volume(save(tmp_path, two_places()))
    assert len(volume.warnings) == 1
    assert volume.warnings[0].startswith("sform (code 2) and qform (code 1) differ by up to ")
    np.testing.assert_allclose(volume.grid.affine, AFFINES["oblique"], rtol=0, atol=1e-6)
    assert read_volume(save(tmp_path, HEADERS["oblique"]())).warnings == ()


def test_label_ids_may_be_stored_as_floats(tmp_path: Path) -> None:
    volume = read_label_map(saved(tmp_path, label_map().astype(np.float64)))
    assert volume.data.dtype == np.int32
    assert np.array_equal(volume.data, label_map())


def with_value(value: float) -> NDArray[np.float64]:
    data = np.zeros(SHAPE)
    data[1, 1, 1] = value
    return data


@pytest.mark.parametrize("value", [0.5, -1.0, 1e10])
def test_what_is_no_label_map_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ImageError, match=r"image\.nii\.gz: found values that are not whole number"):
        read_label_map(saved(tmp_path, with_value(value)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((*SHAPE, 2)), r"found a 4D image of shape \(5, 6, 7, 2\), need one 3D volume"),
        (np.zeros((*SHAPE, 1, 2)), r"found a 5D image"),
        (np.zeros((5, 6)), r"found a 2D image"),
        (np.zeros((5, 6, 1)), r"found shape \(5, 6, 1\), need at least 2 voxels along each axis"),
        (with_value(np.nan), r"found 1 NaN or infinite voxels, need finite intensities"),
        (with_value(-np.inf), r"found 1 NaN or infinite voxels"),
        (np.zeros(SHAPE, np.complex64), r"found voxels of type complex64, need real numbers"),
        (np.zeros(SHAPE, [(c, np.uint8) for c in "RGB"]), r"found voxels of type .*real numbers"),
    ],
)
def test_a_volume_that_does_not_fit_is_refused(
    tmp_path: Path, data: NDArray[Any], message: str
) -> None:
    refuses(saved(tmp_path, data), message)


@pytest.mark.parametrize("row", [[0.0, 0, 0, 0], [1.0, 0, 0, 0], [np.nan, 0, 0, 0]])
def test_a_singular_affine_is_refused(tmp_path: Path, row: list[float]) -> None:
    image = nib.Nifti1Image(intensities(), np.eye(4))
    path = tmp_path / "image.nii"
    image.to_filename(path)
    raw = bytearray(path.read_bytes())
    raw[312:328] = np.array(row, dtype="<f4").tobytes()  # nibabel refuses to write it itself
    path.write_bytes(raw)
    refuses(path, r"its affine is singular")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    refuses(tmp_path / "image.nii.gz", r"no such file\. Check the path")


@pytest.mark.parametrize("name", ["image.nii.gz", "image.nii", "image.mgz"])
@pytest.mark.parametrize("content", [b"", b"text, and no image\n" * 50])
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    for stored in (content, gzip.compress(content)):
        (tmp_path / name).write_bytes(stored)
        refuses(tmp_path / name, r"not a readable (NIfTI|MGH) image")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.nii.gz").mkdir()
    refuses(tmp_path / "image.nii.gz", r"found a folder without a DICOM series")


@pytest.mark.parametrize("name", ["image.nii.gz", "image.nii", "image.mgz"])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.95])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, part: float) -> None:
    image = nib.MGHImage if name.endswith("mgz") else nib.Nifti1Image
    path = save(tmp_path, image(intensities(), np.eye(4)), name)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(part * len(raw))])
    refuses(path, r"(truncated or damaged|not a readable (NIfTI|MGH) image)")


@pytest.mark.parametrize(
    ("offset", "damage", "message"),
    [
        (70, b"\x0f\x27", "data code 9999 not recognized"),
        (40, b"\x09\x00", "not a readable (NIfTI|MGH) image"),  # 9 axes
        (42, b"\xff\xff", r"a shape of \(-1, 6, 7\)"),
        (42, b"\xff\x7f", r"promises 5505\d{3} bytes, the file holds 1192"),
        (108, b"\x00\x00\x80\x7f", "cannot convert float infinity"),  # where voxels begin
    ],
)
def test_a_damaged_header_is_one_line_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, offset: int, damage: bytes, message: str
) -> None:
    path = save(tmp_path, nib.Nifti1Image(intensities(), np.eye(4)), "image.nii")
    raw = bytearray(path.read_bytes())
    raw[offset : offset + len(damage)] = damage
    path.write_bytes(raw)
    refuses(path, message)
    assert caplog.records == []  # nibabel would log its own remarks


def refuses(path: Path, message: str) -> None:
    with pytest.raises(ImageError, match=message) as error:
        read_volume(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_stem_drops_image_suffixes_only() -> None:
    names = ("sub-01_T1w.nii.gz", "sub-01_T1w.NII", "a.b.mgz", "x.mgh", "table.csv")
    stems = [strip_suffix(Path("folder") / name) for name in names]
    assert stems == ["sub-01_T1w", "sub-01_T1w", "a.b", "x", "table"]
