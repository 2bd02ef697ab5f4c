"""Files, folders, patterns and lists of images, and the subject in a file name."""

from pathlib import Path

import pytest

from seg_prior.errors import ConfigError, ImageError
from seg_prior.io.find import find_images, subject_key


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b_dseg.nii.gz", "a.nii", "c.MGZ", "d.mgh", "notes.txt", "labels.tsv"):
        (tmp_path / name).touch()
    for hidden in ("._a.nii", ".17-b_dseg.nii.gz"):
        (tmp_path / hidden).touch()
    (tmp_path / "deep" / "folder.nii").mkdir(parents=True)
    (tmp_path / "deep" / "e.nii.gz").touch()
    return tmp_path


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_a_folder_is_the_visible_images_directly_in_it_sorted(folder: Path) -> None:
    assert find_images([folder]) == [
        folder / n for n in ("a.nii", "b_dseg.nii.gz", "c.MGZ", "d.mgh")
    ]


def test_a_file_is_itself_and_inputs_keep_their_order(folder: Path) -> None:
    assert names(find_images([folder / "d.mgh", folder / "a.nii"])) == ["d.mgh", "a.nii"]


def test_a_pattern_finds_images_only(folder: Path) -> None:
    assert names(find_images([folder / "*"])) == ["a.nii", "b_dseg.nii.gz", "c.MGZ", "d.mgh"]
    assert names(find_images([folder / "*_dseg.nii.gz"])) == ["b_dseg.nii.gz"]
    assert names(find_images([folder / "**" / "e.*"])) == ["e.nii.gz"]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path: Path) -> None:
    odd = tmp_path / "scan[1].nii"
    odd.touch()
    (tmp_path / "scan1.nii").touch()
    assert find_images([odd]) == [odd]


def test_a_list_is_relative_to_its_own_folder(folder: Path) -> None:
    chosen = folder / "deep" / "chosen.txt"
    chosen.write_text(f"# two of them\n\ne.nii.gz\n  ../a.nii  \n{folder / 'd.mgh'}\n")
    assert find_images([chosen]) == [
        folder / "deep" / "e.nii.gz",
        folder / "deep" / ".." / "a.nii",
        folder / "d.mgh",
    ]


def test_an_image_named_twice_comes_once(folder: Path) -> None:
    found = find_images([folder / "d.mgh", folder, folder / "*.mgh"])
    assert names(found) == ["d.mgh", "a.nii", "b_dseg.nii.gz", "c.MGZ"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nope\.nii: no such file\."):
        find_images([tmp_path / "nope.nii"])


def test_a_file_that_is_no_image_is_refused(folder: Path) -> None:
    with pytest.raises(ImageError, match=r"labels\.tsv: found a name without an image suffix"):
        find_images([folder / "labels.tsv"])


@pytest.mark.parametrize("name", ["empty", "*_T1w.nii.gz", "empty.txt"])
def test_an_input_that_yields_nothing_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(
        ConfigError, match=r"found no image, need files whose names end in"
    ) as error:
        find_images([tmp_path / name])
    assert str(error.value).startswith(f"{tmp_path / name}: ")


def test_no_inputs_are_refused() -> None:
    with pytest.raises(ConfigError, match="inputs: found none"):
        find_images([])


def test_a_list_names_the_line_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.nii").touch()
    (tmp_path / "list.txt").write_text("a.nii\n\nb.nii\n")
    with pytest.raises(ImageError, match=r"list\.txt: line 3: .*b\.nii: no such file"):
        find_images([tmp_path / "list.txt"])


def test_a_list_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\x1f\x8b\xff\xfe")
    with pytest.raises(ConfigError, match=r"list\.txt: not a text file in UTF-8"):
        find_images([tmp_path / "list.txt"])


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("sub-01_ses-1_T1w.nii.gz", "sub-01_ses-1"),
        ("sub-01_T1w_dseg.nii.gz", "sub-01"),
        ("sub-01_dseg.nii", "sub-01"),
        ("sub-001_frame-01_bssfp.nii.gz", "sub-001_frame-01"),
        ("sub-001_frame-01_bssfp_dseg.nii.gz", "sub-001_frame-01"),
        ("sub-1000.mgz", "sub-1000"),
        ("case_07.nii.gz", "case_07"),
        ("case_07_dseg.nii.gz", "case_07"),
    ],
)
def test_subject_key(name: str, key: str) -> None:
    assert subject_key(Path("some-folder") / name) == key
