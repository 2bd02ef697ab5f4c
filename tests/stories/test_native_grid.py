"""Whatever a header says, the result lies on the scan's grid: properties, not examples."""

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seg_prior import Segmenter
from seg_prior.cli.app import main
from seg_prior.io.formats.nifti import write_series
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.io.write import write_volume

ORIENTATIONS = [
    np.array([order, signs]).T
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
"""All 48: the axis that each voxel axis runs along, and whether it runs backwards."""


class Header(NamedTuple):
    """A file as somebody's scanner might have written it."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    sform_code: int
    qform_code: int
    units: str
    suffix: str
    has_fourth_axis: bool

    def image(self) -> Any:
        data = np.random.default_rng(0).normal(100, 20, self.shape).astype(np.float32)
        if self.suffix == ".mgz":  # nibabel drops a fourth axis of one volume itself
            return nib.freesurfer.MGHImage(data, self.affine.astype(np.float32))
        if self.has_fourth_axis:
            data = data[..., None]
        image = nib.Nifti1Image(data, None)
        if self.qform_code or not self.sform_code:
            image.set_qform(self.affine, self.qform_code)
        if self.sform_code:
            image.set_sform(self.affine, self.sform_code)
        image.header.set_xyzt_units(self.units, "sec")
        return image


def rotation(angles_deg: tuple[float, float, float]) -> NDArray[np.float64]:
    x, y, z = np.deg2rad(angles_deg)
    return np.asarray(nib.eulerangles.euler2mat(z, y, x))


@st.composite
def headers(draw: st.DrawFn) -> Header:
    """Any orientation, spacing, obliquity, shear, shape, codes, units and file type."""
    suffix = draw(st.sampled_from([".nii", ".nii.gz", ".mgz"]))
    sform_code = draw(st.integers(0, 4))
    qform_code = draw(st.integers(0, 4))
    linear = np.zeros((3, 3))
    for column, (axis, sign) in enumerate(draw(st.sampled_from(ORIENTATIONS))):
        linear[int(axis), column] = sign
    angles = st.floats(-60, 60)
    linear = rotation((draw(angles), draw(angles), draw(angles))) @ linear
    if suffix != ".mgz" and sform_code and not qform_code and draw(st.booleans()):
        linear = linear @ np.array([[1, draw(st.floats(-0.4, 0.4)), 0], [0, 1, 0], [0, 0, 1]])
    spacing = st.floats(0.05, 12)
    affine = np.eye(4)
    affine[:3, :3] = linear @ np.diag([draw(spacing) for _ in range(3)])
    affine[:3, 3] = [draw(st.floats(-300, 300)) for _ in range(3)]
    if suffix != ".mgz" and not sform_code and not qform_code:
        affine = np.diag([*np.linalg.norm(affine[:3, :3], axis=0), 1.0])
    shape = tuple(draw(st.integers(2, 11)) for _ in range(3))
    units = draw(st.sampled_from(["mm", "micron", "unknown"]))
    return Header(
        shape,  # type: ignore[arg-type]
        affine,
        sform_code,
        qform_code,
        units,
        suffix,
        draw(st.booleans()),
    )


def same_header(one: Any, other: Any, *, is_series: bool = False) -> None:
    """Both forms, their codes and the units are those of the other file; labels have no time."""
    for form in ("get_sform", "get_qform"):
        before, code_before = getattr(one.header, form)(coded=True)
        after, code_after = getattr(other.header, form)(coded=True)
        assert code_before == code_after
        if before is not None:
            np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-3)
    space, time = one.header.get_xyzt_units()
    assert other.header.get_xyzt_units() == (space, "unknown" if is_series else time)


@settings(max_examples=60, deadline=None, derandomize=True, phases=[Phase.generate])
@given(headers())
def test_a_result_lies_where_its_scan_lies(
    tmp_path_factory: pytest.TempPathFactory, header: Header
) -> None:
    folder = tmp_path_factory.mktemp("grid")
    path = folder / f"scan{header.suffix}"
    nib.save(header.image(), path)
    scan = read_volume(path)
    assert scan.grid.shape == header.shape
    says_sides = header.suffix == ".mgz" or header.sform_code or header.qform_code
    guess = "its header does not say where left and right are (sform and qform code 0)"
    assert [text.split(",")[0] for text in scan.warnings] == ([] if says_sides else [guess])
    ids = np.random.default_rng(1).integers(0, 300, header.shape)
    for suffix in (".nii.gz", ".mgz"):
        result = folder / f"result{suffix}"
        write_volume(result, ids, scan)
        again = read_label_map(result)
        assert again.grid.same_as(scan.grid, tolerance_voxels=5e-3)
        assert np.array_equal(again.data, ids)
    if header.suffix != ".mgz":
        same_header(nib.load(path), nib.load(folder / "result.nii.gz"))
    write_series(folder / "series.nii.gz", iter([scan.data, 2 * scan.data]), 2, scan)
    series = nib.load(folder / "series.nii.gz")
    assert series.shape == (*header.shape, 2)
    mm = 1e-3 if series.header.get_xyzt_units()[0] == "micron" else 1.0
    affine = np.diag([mm, mm, mm, 1.0]) @ series.affine
    np.testing.assert_allclose(affine, scan.grid.affine, rtol=1e-5, atol=1e-3 * mm)
    np.testing.assert_array_equal(series.dataobj[..., 0], scan.data)
    np.testing.assert_array_equal(series.dataobj[..., 1], 2 * scan.data)
    if header.suffix != ".mgz":
        same_header(nib.load(path), series, is_series=True)


@pytest.fixture(scope="module")
def segmenter(tiny_atlas: Path) -> Segmenter:
    return Segmenter.load(tiny_atlas, device="cpu", threads=1)


@pytest.fixture(scope="module")
def scan(phantom_folder: Path) -> Any:
    return nib.load(phantom_folder / "sub-004_phantom.nii.gz")


@pytest.fixture(scope="module")
def label_map(segmenter: Segmenter, scan: Any) -> NDArray[np.int32]:
    return segmenter.segment(scan).label_map


@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # an example takes half a second: shrinking would take minutes
)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    shift_mm=st.tuples(*[st.integers(-60, 60)] * 3),
    padding=st.tuples(*[st.integers(0, 4)] * 3),
)
def test_how_a_scan_is_stored_does_not_change_its_segmentation(
    segmenter: Segmenter,
    scan: Any,
    label_map: NDArray[np.int32],
    orientation: NDArray[np.int_],
    shift_mm: tuple[int, int, int],
    padding: tuple[int, int, int],
) -> None:
    widths = [(0, width) for width in padding]
    data = np.pad(np.asanyarray(scan.dataobj), widths)
    affine = scan.affine.copy()
    affine[:3, 3] += shift_mm
    stored = nib.Nifti1Image(data, affine).as_reoriented(orientation)
    result = segmenter.segment(stored)
    wanted = nib.orientations.apply_orientation(np.pad(label_map, widths), orientation)
    assert result.label_map.shape == stored.shape
    assert (result.label_map == wanted)[wanted > 0].mean() > 0.995


@settings(max_examples=3, deadline=None, derandomize=True, phases=[Phase.generate])
@given(angles=st.tuples(*[st.floats(-40, 40)] * 3))
def test_an_oblique_scan_is_segmented_on_its_own_grid(
    segmenter: Segmenter, scan: Any, angles: tuple[float, float, float]
) -> None:
    move = np.eye(4)
    move[:3, :3] = rotation(angles)
    oblique = nib.Nifti1Image(np.asanyarray(scan.dataobj), move @ scan.affine)
    result = segmenter.segment(oblique)
    assert result.label_map.shape == oblique.shape
    np.testing.assert_array_equal(result.volume.grid.affine, oblique.affine)
    # How well a rotated phantom of 5 mm voxels is registered is not for this test to say.
    assert len(np.unique(result.label_map)) > 5


SHEAR = np.array([[1, 0.15, 0, 0], [0, 1, 0.1, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


@pytest.mark.parametrize(
    ("suffix", "out"), [(".nii", ".mgz"), (".mgz", ".nii.gz"), (".nii.gz", ".nii")]
)
def test_the_command_takes_and_gives_every_file_type(
    scan: Any,
    tiny_atlas: Path,
    label_map: NDArray[np.int32],
    tmp_path: Path,
    suffix: str,
    out: str,
) -> None:
    data = np.asanyarray(scan.dataobj).astype(np.float32)
    image = (
        nib.freesurfer.MGHImage(data, scan.affine)
        if suffix == ".mgz"
        else nib.Nifti1Image(data[..., None], scan.affine)
    )
    nib.save(image, tmp_path / f"scan{suffix}")
    files = [str(tmp_path / f"scan{suffix}"), str(tmp_path / f"result{out}")]
    assert main(["segment", *files, "--model", str(tiny_atlas), "--threads", "1", "--quiet"]) == 0
    result = read_label_map(tmp_path / f"result{out}")
    assert result.grid.same_as(read_volume(tmp_path / f"scan{suffix}").grid, tolerance_voxels=1e-2)
    assert (result.data == label_map).mean() > 0.99


def test_a_sheared_scan_is_segmented_where_it_lies(
    segmenter: Segmenter, scan: Any, label_map: NDArray[np.int32]
) -> None:
    sheared = nib.Nifti1Image(np.asanyarray(scan.dataobj), None)
    sheared.set_sform(SHEAR @ scan.affine, 1)
    result = segmenter.segment(sheared)
    np.testing.assert_allclose(result.volume.grid.affine, SHEAR @ scan.affine, atol=1e-4)
    anatomy = label_map > 0
    assert (result.label_map > 0)[anatomy].mean() > 0.8


def test_of_a_series_one_volume_is_chosen(
    scan: Any, tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = np.asanyarray(scan.dataobj)
    nib.save(nib.Nifti1Image(np.stack([data * 0, data], 3), scan.affine), tmp_path / "s.nii")
    argv = ["segment", str(tmp_path / "s.nii"), str(tmp_path / "r.nii"), "--quiet"]
    argv += ["--model", str(tiny_atlas), "--threads", "1"]
    assert main(argv) == 2
    assert "found a 4D image of shape" in (line := capsys.readouterr().err)
    assert line.endswith("need one 3D volume. Choose one with --frame 0 to 1.\n")
    assert main([*argv, "--frame", "1"]) == 0
    assert read_label_map(tmp_path / "r.nii").data.any()
    assert main([*argv, "--frame", "2"]) == 2
    assert "found no volume 2, need 0 to 1." in capsys.readouterr().err


def test_forms_that_disagree_are_named_by_the_command(
    scan: Any, tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two_places = nib.Nifti1Image(np.asanyarray(scan.dataobj), None)
    two_places.set_sform(scan.affine, 2)
    moved = scan.affine.copy()
    moved[0, 3] += 30
    two_places.set_qform(moved, 1)
    nib.save(two_places, tmp_path / "s.nii")
    argv = ["segment", str(tmp_path / "s.nii"), str(tmp_path / "r.nii")]
    assert main([*argv, "--model", str(tiny_atlas), "--threads", "1"]) == 0
    assert "sform (code 2) and qform (code 1) differ by up to 30" in capsys.readouterr().err
    same_header(nib.load(tmp_path / "s.nii"), nib.load(tmp_path / "r.nii"))
