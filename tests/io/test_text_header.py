"""Text headers: which files an image is, and how much of them its voxels are."""

from pathlib import Path

from seg_prior.errors import ImageError
from seg_prior.io.text_header import TextHeader, parts_by


def test_an_image_is_its_header_and_its_data_each_once(tmp_path: Path) -> None:
    header, data = tmp_path / "a.nhdr", tmp_path / "a.raw"
    data.write_bytes(bytes(10))
    apart = TextHeader({}, data, 4)
    assert apart.stored_bytes == 6
    assert parts_by(lambda _: apart)(header) == [header, data]
    assert parts_by(lambda path: TextHeader({}, path, 4))(header) == [header]


def test_who_cannot_be_read_is_one_file(tmp_path: Path) -> None:
    for error in (OSError, ValueError, ImageError):

        def read(path: Path, error: type[Exception] = error) -> TextHeader:
            raise error(path)

        assert parts_by(read)(tmp_path / "a.mhd") == [tmp_path / "a.mhd"]
