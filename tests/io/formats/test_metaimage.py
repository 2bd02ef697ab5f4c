"""MetaImage, written byte by byte as its description says."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_prior.io.formats import content_sha256
from seg_prior.io.read import read_volume
from tests.io.formats.awkward import AFFINES, LPS_FROM_RAS, check_same, intensities, refusal


def header(affine: NDArray[np.float64], data: str = "LOCAL", packed: int = 0) -> str:
    """The text of a file of 5 x 6 x 7 big-endian short integers."""
    there = LPS_FROM_RAS @ affine
    spacing = np.linalg.norm(there[:3, :3], axis=0)
    cosines = (there[:3, :3] / spacing).T.ravel()  # axis after axis
    return f"""ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = True
CompressedData = {bool(packed)}
{f"CompressedDataSize = {packed}" if packed else "Comment = plain"}
TransformMatrix = {" ".join(f"{value:.17g}" for value in cosines)}
Offset = {" ".join(f"{value:.17g}" for value in there[:3, 3])}
ElementSpacing = {" ".join(f"{value:.17g}" for value in spacing)}
DimSize = 5 6 7
ElementType = MET_SHORT
ElementDataFile = {data}
"""


VOXELS = intensities().astype(">i2").tobytes(order="F")


@pytest.mark.parametrize("name", AFFINES)
def test_it_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    affine = AFFINES[name]
    (tmp_path / "a.mha").write_bytes(header(affine).encode() + VOXELS)
    (tmp_path / "b.raw").write_bytes(VOXELS)
    (tmp_path / "b.mhd").write_text(header(affine, "b.raw"))
    packed = zlib.compress(VOXELS)
    (tmp_path / "c.mha").write_bytes(header(affine, packed=len(packed)).encode() + packed)
    for file in ("a.mha", "b.mhd", "c.mha"):
        volume = read_volume(tmp_path / file)
        check_same(volume, intensities(), affine)
        assert volume.warnings == ()


def test_without_a_matrix_sides_are_a_guess(tmp_path: Path) -> None:
    lines = header(np.eye(4)).splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith("TransformMatrix"))
    (tmp_path / "a.mha").write_bytes(text.encode() + VOXELS)
    (warning,) = read_volume(tmp_path / "a.mha").warnings
    assert "(no TransformMatrix), so sides are a guess" in warning


def test_every_flipped_bit_of_packed_voxels_is_noticed(tmp_path: Path) -> None:
    packed = zlib.compress(VOXELS)
    text = header(np.eye(4), packed=len(packed)).encode()
    path = tmp_path / "a.mha"
    for place in range(len(packed)):
        changed = bytearray(packed)
        changed[place] ^= 1 << place % 8
        path.write_bytes(text + changed)
        refusal(path)


def test_a_file_that_does_not_hold_its_voxels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    path.write_bytes(header(np.eye(4)).encode() + VOXELS[:-1])
    assert "its header promises 420 bytes, the file holds 419 bytes" in refusal(path)
    path.write_bytes(b"no image")
    assert "not a readable MetaImage image (no ElementDataFile" in refusal(path)
    path.write_text(header(np.eye(4), "slice%03d.raw 1 7 1"))
    assert "found data in several files (slice%03d.raw 1 7 1), need them in one" in refusal(path)
    (tmp_path / "b.mhd").write_text(header(np.eye(4), "gone.raw"))
    assert "not a readable MetaImage image" in refusal(tmp_path / "b.mhd")


def test_voxels_beside_the_header_count_for_what_an_image_is(tmp_path: Path) -> None:
    (tmp_path / "a.mhd").write_text(header(np.eye(4), "a.raw"))
    (tmp_path / "a.raw").write_bytes(VOXELS)
    before = content_sha256(tmp_path / "a.mhd")
    (tmp_path / "a.raw").write_bytes(VOXELS[::-1])
    assert content_sha256(tmp_path / "a.mhd") != before
    (tmp_path / "a.raw").unlink()
    assert content_sha256(tmp_path / "a.mhd") != before
