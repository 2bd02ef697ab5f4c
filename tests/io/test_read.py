"""Reading volumes: units, voxels and ids of headers and arrays, and what is refused."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from seg_prior.errors import ImageError
from seg_prior.io.formats import strip_suffix
from seg_prior.io.read import as_volume, read_label_map, read_volume
from tests.io.formats.awkward import RIGID, SHAPE

IDS = np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.uint8)
AFFINE = np.array([[0.0, 0, -2, 30], [-1, 0, 0, 20], [0, 1.5, 0, -10], [0, 0, 0, 1]])


def saved(path: Path, affine: Any = AFFINE, unit: str = "mm", data: Any = IDS) -> Path:
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units(unit, "sec")
    nib.save(image, path)
    return path


def intensities() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)


def save(folder: Path, image: Any, name: str = "image.nii.gz") -> Path:
    nib.save(image, folder / name)
    return folder / name


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


def test_forms_that_disagree_are_told_and_the_sform_is_used(tmp_path: Path) -> None:
    image = nib.Nifti1Image(IDS, None)
    image.set_sform(AFFINE, 2)
    image.set_qform(np.diag([-1.0, 1.0, 1.0, 1.0]), 1)
    volume = read_volume(save(tmp_path, image))
    assert len(volume.warnings) == 1
    assert volume.warnings[0].startswith("sform (code 2) and qform (code 1) differ by up to ")
    np.testing.assert_allclose(volume.grid.affine, AFFINE, rtol=0, atol=1e-6)


def test_forms_that_agree_are_not_told(tmp_path: Path) -> None:
    image = nib.Nifti1Image(IDS, None)
    image.set_sform(RIGID["oblique"], 1)
    image.set_qform(RIGID["oblique"], 1)
    assert read_volume(save(tmp_path, image)).warnings == ()


def test_label_ids_may_be_stored_as_floats(tmp_path: Path) -> None:
    volume = read_label_map(saved(tmp_path / "image.nii.gz", data=IDS.astype(np.float64)))
    assert volume.data.dtype == np.int32
    assert np.array_equal(volume.data, IDS)


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


def with_value(value: float) -> NDArray[np.float64]:
    data = np.zeros(SHAPE)
    data[1, 1, 1] = value
    return data


@pytest.mark.parametrize("value", [0.5, -1.0, 1e10])
def test_what_is_no_label_map_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ImageError, match=r"image\.nii\.gz: found values that are not whole number"):
        read_label_map(saved(tmp_path / "image.nii.gz", data=with_value(value)))


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
    refuses(saved(tmp_path / "image.nii.gz", data=data), message)


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


def test_stem_drops_image_suffixes_only() -> None:
    names = ("sub-01_T1w.nii.gz", "sub-01_T1w.NII", "a.b.mgz", "x.mgh", "table.csv")
    stems = [strip_suffix(Path("folder") / name) for name in names]
    assert stems == ["sub-01_T1w", "sub-01_T1w", "a.b", "x", "table"]
