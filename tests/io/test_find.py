"""Files, folders, patterns and lists of images, and the subject in a file name."""

import json
from pathlib import Path

import pytest

from seg_prior.errors import ConfigError, ImageError
from seg_prior.io.find import find_images, find_label_maps, scan_key
from seg_prior.io.read import read_volume
from seg_prior.io.sidecar import GENERATED_BY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b_dseg.nii.gz", "a.nii", "c.MGZ", "d.mgh", "notes.txt", "labels.tsv"):
        (tmp_path / name).touch()
    for hidden in ("._a.nii", ".b_dseg.nii.gz"):
        (tmp_path / hidden).touch()
    for name in ("deep/folder.nii/e.nii.gz", ".git/annex/f.nii.gz", "deep/.g/h.nii"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    return tmp_path


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_a_folder_is_the_visible_scans_in_it_at_any_depth_sorted(folder: Path) -> None:
    wanted = ("a.nii", "c.MGZ", "d.mgh", "deep/folder.nii/e.nii.gz")
    assert find_images([folder]) == [folder / name for name in wanted]


def test_the_folder_of_the_shell_is_no_part_of_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b-c/x.nii", "b/y.nii", "b.nii"):  # "-" and "." come before "/" in text
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    wanted = [Path("b/y.nii"), Path("b-c/x.nii"), Path("b.nii")]
    assert find_images([Path(".")]) == sorted(wanted) == wanted
    assert find_images([Path("**/*.nii")]) == wanted


def test_a_label_map_of_slicer_is_no_scan(tmp_path: Path) -> None:
    for name in ("a.nrrd", "a.seg.nrrd"):
        (tmp_path / name).touch()
    assert names(find_images([tmp_path])) == ["a.nrrd"]
    assert names(find_images([tmp_path / "*.nrrd"])) == ["a.nrrd"]
    assert names(find_images([tmp_path / "a.seg.nrrd"])) == ["a.seg.nrrd"]
    assert names(find_label_maps([tmp_path])) == ["a.nrrd", "a.seg.nrrd"]


def test_a_linked_folder_is_searched_once(folder: Path, tmp_path: Path) -> None:
    other = folder / "links"
    other.mkdir()
    (other / "up").symlink_to(folder / "deep")
    (other / "round").symlink_to(other)
    assert find_images([other]) == [other / "up" / "folder.nii" / "e.nii.gz"]


@pytest.mark.parametrize("end", ["dseg", "probseg", "entropy", "departure", "mask"])
def test_results_are_no_scans(folder: Path, end: str) -> None:
    (folder / f"sub-01_{end}.nii.gz").touch()
    assert "a.nii" in names(find_images([folder]))
    assert f"sub-01_{end}.nii.gz" not in names(find_images([folder]))
    assert f"sub-01_{end}.nii.gz" not in names(find_images([folder / "*"]))
    # Who names it means it.
    assert names(find_images([folder / f"sub-01_{end}.nii.gz"])) == [f"sub-01_{end}.nii.gz"]
    assert (f"sub-01_{end}.nii.gz" in names(find_label_maps([folder]))) == (end in ("dseg", "mask"))


def test_what_a_sidecar_of_ours_names_is_no_scan(folder: Path) -> None:
    for name in ("drawn", "found"):
        (folder / f"{name}.nii").touch()
    (folder / "drawn.json").write_text('{"files": ["drawn.nii"], "RepetitionTime": 2.3}')
    (folder / "found.json").write_text(json.dumps(GENERATED_BY | {"files": {"found.nii": "0"}}))
    found = names(find_images([folder]))
    assert "drawn.nii" in found
    assert "found.nii" not in found
    assert "found.nii" in names(find_label_maps([folder]))


def test_a_file_is_itself_and_inputs_keep_their_order(folder: Path) -> None:
    assert names(find_images([folder / "d.mgh", folder / "a.nii"])) == ["d.mgh", "a.nii"]


def test_a_pattern_finds_images_only(folder: Path) -> None:
    assert names(find_images([folder / "*"])) == ["a.nii", "c.MGZ", "d.mgh"]
    assert names(find_label_maps([folder / "*_dseg.nii.gz"])) == ["b_dseg.nii.gz"]
    assert names(find_images([folder / "**" / "e.*"])) == ["e.nii.gz"]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path: Path) -> None:
    odd = tmp_path / "scan[1].nii"
    odd.touch()
    (tmp_path / "scan1.nii").touch()
    assert find_images([odd]) == [odd]


LINES = "# two of them\n\ndeep/folder.nii/e.nii.gz\r\n  ./a.nii  \n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_is_relative_to_its_own_folder(folder: Path, encoding: str) -> None:
    chosen = folder / "chosen.txt"
    chosen.write_bytes(f"{LINES}{folder / 'd.mgh'}\n".encode(encoding))
    assert find_images([chosen]) == [
        folder / "deep" / "folder.nii" / "e.nii.gz",
        folder / "a.nii",
        folder / "d.mgh",
    ]


def test_an_image_named_twice_comes_once(folder: Path) -> None:
    found = find_images([folder / "d.mgh", folder, folder / "*.mgh"])
    assert names(found) == ["d.mgh", "a.nii", "c.MGZ", "e.nii.gz"]


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
    with pytest.raises(ConfigError, match=r"looked for scans, folders of a") as error:
        find_images([tmp_path / name])
    assert str(error.value).startswith(f"{tmp_path / name}: ")
    assert str(error.value).endswith("found none. Check the path.")


def test_what_was_left_out_is_said_where_nothing_is_found(tmp_path: Path) -> None:
    for name in ("a_dseg.nii.gz", "a_entropy.nii.gz"):
        (tmp_path / name).touch()
    message = (
        "found none, and 2 files that are results or end in _dseg, _probseg, _entropy, _depart"
    )
    with pytest.raises(ConfigError, match=message):
        find_images([tmp_path])
    assert names(find_label_maps([tmp_path])) == ["a_dseg.nii.gz"]


def test_no_inputs_are_refused() -> None:
    with pytest.raises(ConfigError, match="inputs: found none"):
        find_images([])


def test_dead_lines_and_links_are_found_and_told_by_who_reads_them(tmp_path: Path) -> None:
    (tmp_path / "a.nii").touch()
    (tmp_path / "b.nii").symlink_to(".git/annex/objects/b")
    (tmp_path / "round.nii").symlink_to("round.nii")
    (tmp_path / "list.txt").write_text("a.nii\n\nc.nii\n")
    assert names(find_images([tmp_path])) == ["a.nii", "b.nii", "round.nii"]
    assert names(find_images([tmp_path / "*.nii"])) == ["a.nii", "b.nii", "round.nii"]
    assert names(find_images([tmp_path / "list.txt"])) == ["a.nii", "c.nii"]
    with pytest.raises(ImageError, match=r"b\.nii: found a link to \.git/annex/objects/b, where"):
        read_volume(tmp_path / "b.nii")
    with pytest.raises(ImageError, match=r"c\.nii: no such file"):
        read_volume(tmp_path / "c.nii")


def test_names_that_all_lead_nowhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("b.nii\nc.nii\n")
    with pytest.raises(ConfigError, match=r"found 2 names that lead nowhere, .*b\.nii the first"):
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
    assert scan_key(Path("some-folder") / name) == key
