"""Image files whose bytes are not what their header or their checksum says."""

import gzip
import io
import os
import resource
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from seg_prior.core import memory
from seg_prior.errors import ImageError
from seg_prior.io import nibabel_file
from seg_prior.io.read import open_image, read_volume

SHAPE = (9, 8, 7)


def intensities() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)


def saved(folder: Path, name: str) -> Path:
    kind = nib.MGHImage if ".mg" in name else nib.Nifti1Image
    nib.save(kind(intensities(), np.eye(4)), folder / name)
    return folder / name


def refusal(path: Path) -> str:
    with pytest.raises(ImageError) as error:
        read_volume(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mgz"])
def test_every_flipped_bit_of_a_packed_image_is_noticed(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, name)
    raw = path.read_bytes()
    places = range(10, len(raw), len(raw) // 60)  # the first ten hold a date and flags
    for place in places:
        changed = bytearray(raw)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        refusal(path)
    path.write_bytes(raw)
    assert np.array_equal(read_volume(path).data, intensities())


def test_a_stream_in_two_members_is_one_image(tmp_path: Path) -> None:
    raw = gzip.decompress(saved(tmp_path, "a.nii.gz").read_bytes())
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(raw[:500]) + gzip.compress(raw[500:]))
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").data, intensities())


def test_what_is_packed_is_seen_in_the_bytes_and_not_in_the_name(tmp_path: Path) -> None:
    packed = saved(tmp_path, "a.nii.gz").rename(tmp_path / "packed.nii")
    plain = saved(tmp_path, "b.nii").rename(tmp_path / "plain.nii.gz")
    for path in (packed, plain):
        assert np.array_equal(read_volume(path).data, intensities())


def claiming(shape: tuple[int, int, int]) -> bytes:
    """A header of so many voxels, and some of them."""
    image = nib.Nifti1Image(np.zeros(SHAPE, np.uint8), np.eye(4))
    image.header.set_data_shape(shape)
    file = io.BytesIO()
    image.header.write_to(file)
    return file.getvalue() + b"\0" * 1000


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_header_that_promises_more_than_the_file_can_hold_takes_no_memory(
    tmp_path: Path, name: str
) -> None:
    raw = claiming((3000, 3000, 3000))
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "its header promises 27000000352 bytes, the file holds" in refusal(tmp_path / name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_header_of_many_megabytes_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.nii")
    raw = bytearray(path.read_bytes())
    raw[108:112] = np.float32(1e9).tobytes()
    path.write_bytes(raw)
    assert "a header of 1000000000 bytes" in refusal(path)


def test_bytes_without_end_behind_the_voxels_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nibabel_file, "_MAX_TAIL_BYTES", 1000)
    monkeypatch.setattr(nibabel_file, "_CHUNK_BYTES", 100)
    path = saved(tmp_path, "a.nii.gz")
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole + b"x" * 900))
    assert np.array_equal(read_volume(path).data, intensities())
    path.write_bytes(gzip.compress(whole + b"x" * 1200))
    assert "follow its voxels" in refusal(path)


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, "a.nii")
    monkeypatch.setattr("seg_prior.core.memory.free_bytes", lambda: 5000.0)
    message = refusal(path)
    assert "reading shape (9, 8, 7) takes about 8.1e-06 GB of memory, found 5e-06 GB" in message


def test_free_memory_obeys_the_limit_of_the_process() -> None:
    free = memory.free_bytes()
    assert 1e6 < free < 1e14
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(next(memory._kilobytes(memory._PROCESS, "VmSize:")))
    resource.setrlimit(resource.RLIMIT_AS, (size + 50_000_000, before[1]))
    try:
        assert memory.free_bytes() <= 50_000_000
        assert memory.too_much(60e6).startswith("takes about 0.06 GB of memory, found 0.0")
        assert memory.too_much(1e6) == ""
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_file_that_shrinks_while_it_is_read_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.ones((64, 64, 64), np.float32), np.eye(4)), path)
    with open_image(path) as stored:
        os.truncate(path, 400)
        with pytest.raises(OSError, match="Expected 1048576 bytes"):
            np.asanyarray(stored.dataobj)
    volume = read_volume(saved(tmp_path, "b.nii"))
    os.truncate(tmp_path / "b.nii", 400)
    assert np.array_equal(volume.data, intensities())  # not mapped: nothing is lost with the file
