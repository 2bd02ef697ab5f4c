"""NRRD, as pynrrd writes and reads it, and label maps of 3D Slicer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_prior.core.grid import Grid
from seg_prior.core.volume import Volume
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.io.write import write_volume
from tests.io.formats.awkward import (
    AFFINES,
    LPS_FROM_RAS,
    SHAPE,
    check_same,
    intensities,
    label_map,
    refusal,
)

nrrd = pytest.importorskip("nrrd", reason="no pynrrd; pip install pynrrd")

SPACES = {
    "right-anterior-superior": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "left-posterior-superior": LPS_FROM_RAS,
}


def placed(affine: NDArray[np.float64], space: str = "left-posterior-superior") -> dict[str, Any]:
    """Fields of a header that place voxels by an affine in RAS+."""
    there = SPACES[space] @ affine
    return {
        "space": space,
        "space directions": there[:3, :3].T,  # a row for each axis of the array
        "space origin": there[:3, 3],
    }


def written(path: Path, data: NDArray[Any], header: dict[str, Any]) -> Path:
    nrrd.write(str(path), data, header)
    return path


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_it_is_read_as_pynrrd_wrote_it(
    tmp_path: Path, name: str, space: str, encoding: str
) -> None:
    header = placed(AFFINES[name], space) | {"encoding": encoding}
    volume = read_volume(written(tmp_path / "a.nrrd", intensities(), header))
    check_same(volume, intensities(), AFFINES[name])
    assert volume.warnings == ()


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("is_short", [False, True])
def test_spaces_in_three_letters_are_converted_which_monai_takes_for_ras(
    tmp_path: Path, space: str, is_short: bool
) -> None:
    from monai.data import NrrdReader

    name = "".join(word[0].upper() for word in space.split("-")) if is_short else space
    header = placed(AFFINES["oblique"], space) | {"space": name}
    path = written(tmp_path / "a.nrrd", intensities(), header)
    check_same(read_volume(path), intensities(), AFFINES["oblique"])
    is_converted = name == "left-posterior-superior"
    as_monai = AFFINES["oblique"] if is_converted else SPACES[space] @ AFFINES["oblique"]
    _, read = NrrdReader().get_data(NrrdReader().read(path))
    np.testing.assert_allclose(read["affine"], as_monai, atol=1e-6)


def test_data_in_a_file_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.nhdr"
    nrrd.write(str(path), intensities(), placed(AFFINES["oblique"]), detached_header=True)
    check_same(read_volume(path), intensities(), AFFINES["oblique"])


@pytest.mark.parametrize("name", AFFINES)
def test_pynrrd_reads_what_is_written(tmp_path: Path, name: str) -> None:
    affine = AFFINES[name]
    write_volume(tmp_path / "a.nrrd", label_map(), Volume(label_map(), Grid(SHAPE, affine)))
    data, header = nrrd.read(str(tmp_path / "a.nrrd"))
    assert header["type"] == "unsigned char"
    assert header["encoding"] == "gzip"
    assert np.array_equal(data, label_map())
    there = SPACES[header["space"]] @ affine
    np.testing.assert_allclose(header["space directions"], there[:3, :3].T, atol=1e-9)
    np.testing.assert_allclose(header["space origin"], there[:3, 3], atol=1e-9)
    check_same(read_label_map(tmp_path / "a.nrrd"), label_map(), affine)


@pytest.mark.parametrize("header", [{"spacings": [1.0, 2.0, 3.0]}, {"space": "scanner-xyz"}])
def test_a_space_that_names_no_side_is_a_guess(tmp_path: Path, header: dict[str, Any]) -> None:
    if "space" in header:
        header = placed(AFFINES["oblique"]) | header
    (warning,) = read_volume(written(tmp_path / "a.nrrd", intensities(), header)).warnings
    assert "does not say where left and right are" in warning


def test_micrometres_are_converted_and_unknown_units_refused(tmp_path: Path) -> None:
    header = placed(AFFINES["anisotropic"]) | {"space units": ["um"] * 3}
    volume = read_volume(written(tmp_path / "a.nrrd", intensities(), header))
    np.testing.assert_allclose(volume.grid.spacing_mm, [0.0008, 0.0011, 0.009], rtol=1e-6)
    path = written(tmp_path / "b.nrrd", intensities(), header | {"space units": ["inch"] * 3})
    assert "found space units inch, need one of mm" in refusal(path)


def test_every_flipped_bit_of_packed_voxels_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nrrd", intensities(), placed(np.eye(4)) | {"encoding": "gzip"})
    raw = path.read_bytes()
    begin = raw.index(b"\n\n") + 12  # behind a date and flags
    for place in range(begin, len(raw), 7):
        changed = bytearray(raw)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        refusal(path)


def test_a_file_that_promises_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nrrd", intensities(), placed(np.eye(4)) | {"encoding": "raw"})
    path.write_bytes(path.read_bytes().replace(b"sizes: 5 6 7", b"sizes: 3000 3000 3000"))
    assert "its header promises 54000000000 bytes, the file holds 420" in refusal(path)
    path.write_bytes(b"no image")
    assert "not a readable NRRD image (it does not begin with NRRD)" in refusal(path)


def test_data_in_many_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nhdr"
    path.write_text("NRRD0004\ntype: short\ndimension: 3\nsizes: 5 6 7\ndata file: a%d.raw 0 6 1\n")
    assert "found data in several files" in refusal(path)


def segments(layers: int, values: list[tuple[int, int]]) -> dict[str, Any]:
    """Fields of a `.seg.nrrd` whose segments are of these (layer, label value)."""
    header = placed(AFFINES["oblique"])
    if layers > 1:
        header["kinds"] = ["list", "domain", "domain", "domain"]
        header["space directions"] = np.vstack([[np.nan] * 3, header["space directions"]])
    for number, (layer, value) in enumerate(values):
        header |= {
            f"Segment{number}_ID": f"Segment_{number}",
            f"Segment{number}_Name": f"part {number}",
            f"Segment{number}_Layer": str(layer),
            f"Segment{number}_LabelValue": str(value),
        }
    return header


def two_layers(second_begins: int) -> NDArray[np.uint8]:
    """Label 1 in planes 0 and 1 of the first layer, another from some plane of the second."""
    layers = np.zeros((2, *SHAPE), np.uint8)
    layers[0, :2] = 1
    layers[1, second_begins:4] = 1
    return layers


def test_segments_of_one_layer_are_a_label_map(tmp_path: Path) -> None:
    header = segments(1, [(0, 2), (0, 17), (0, 41)])
    volume = read_label_map(written(tmp_path / "a.seg.nrrd", label_map(), header))
    check_same(volume, label_map(), AFFINES["oblique"])
    assert volume.warnings == ()


@pytest.mark.parametrize(("second", "ids"), [(7, [1, 7]), (1, [1, 2])])
def test_layers_become_one_label_map_with_a_word(
    tmp_path: Path, second: int, ids: list[int]
) -> None:
    layers = two_layers(second_begins=2)
    layers[1] *= second
    path = written(tmp_path / "a.seg.nrrd", layers, segments(2, [(0, 1), (1, second)]))
    volume = read_label_map(path)
    wanted = np.zeros(SHAPE, int)
    wanted[:2], wanted[2:4] = ids
    check_same(volume, wanted, AFFINES["oblique"])
    (warning,) = volume.warnings
    assert warning.startswith("2 layers of segments were made one label map")
    assert ("the ids are 1 part 0, 2 part 1" in warning) == (second == 1)


def test_segments_that_share_voxels_are_refused(tmp_path: Path) -> None:
    header = segments(2, [(0, 1), (1, 1)])
    path = written(tmp_path / "a.seg.nrrd", two_layers(second_begins=1), header)
    assert "found 42 voxels that are both part 0 and part 1, need one label" in refusal(path)


def test_voxels_of_no_segment_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.seg.nrrd", two_layers(second_begins=2), segments(2, [(0, 1)]))
    assert "found 84 voxels of no segment that its header lists" in refusal(path)


def test_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    header = placed(AFFINES["oblique"]) | {"encoding": "gzip"}
    path = written(tmp_path / "a.nrrd", intensities(), header)
    text, _, packed = path.read_bytes().partition(b"\n\n")
    path.write_bytes(text.replace(b"\n", b"\r\n") + b"\r\n\r\n" + packed)
    check_same(read_volume(path), intensities(), AFFINES["oblique"])
