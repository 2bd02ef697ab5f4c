from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from seg_prior.errors import ConfigError
from seg_prior.io.find import participant_of
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.planning.subjects import Subjects, deal, divide, mend, mended


def test_whose_file_it_is() -> None:
    assert participant_of(Path("a/sub-01_frame-12_bssfp_dseg.nii.gz")) == "sub-01"
    assert participant_of(Path("sub-01_ses-2_T1w.nii.gz")) == "sub-01"
    assert participant_of(Path("case_07.nii.gz")) == "case_07"


def test_subjects_are_dealt_by_share_and_neighbours_apart() -> None:
    role_of = deal([f"sub-{n:02d}" for n in range(20)] * 2, (13, 3, 4))
    assert Counter(role_of.values()) == {"maps": 13, "images": 3, "scored": 4}
    scored = [n for n in range(20) if role_of[f"sub-{n:02d}"] == "scored"]
    assert min(np.diff(scored)) >= 3


def test_too_few_subjects_for_three_roles_are_refused() -> None:
    with pytest.raises(ConfigError, match="found 2 subjects with image and label map, too few"):
        deal(["sub-1", "sub-2"], (1, 1, 1))


def test_settled_scores_are_kept_and_the_others_dealt() -> None:
    people = [f"sub-{n:02d}" for n in range(20)]
    role_of = deal(people, (1, 1, 4), ["sub-03", "sub-17"])
    assert Counter(role_of.values()) == {"maps": 9, "images": 9, "scored": 2}
    assert {name for name, role in role_of.items() if role == "scored"} == {"sub-03", "sub-17"}
    with pytest.raises(ConfigError, match="found no image and label map of 'sub-99'"):
        deal(people, (1, 1, 4), ["sub-99"])


def divided(folder: Path, **more: object) -> Subjects:
    images = sorted(folder.glob("*_phantom.nii.gz"))
    return divide(images, sorted(folder.glob("*_dseg.nii.gz")), (2, 1, 1), **more)


def test_no_subject_has_two_roles(phantom_folder: Path, tmp_path: Path) -> None:
    files = divided(phantom_folder)
    people = [
        {participant_of(path) for path in paths}
        for paths in (files.maps, files.images, files.scored)
    ]
    assert [len(some) for some in people] == [2, 1, 1]
    assert len(set.union(*people)) == 4
    assert files.lists(tmp_path)[tmp_path / "references.txt"] == files.references
    (scored,), (reference,) = files.scored, files.references
    assert participant_of(scored) == participant_of(reference)


def test_scans_without_a_map_teach_intensities_and_maps_without_a_scan_anatomy() -> None:
    images = [Path(f"sub-{n}_T1w.nii.gz") for n in (1, 2, 3, 4)]
    labels = [Path(f"sub-{n}_dseg.nii.gz") for n in (1, 2, 3, 5)]
    files = divide(images, labels, (1, 1, 1))
    assert images[3] in files.images
    assert labels[3] in files.maps
    assert set(files.role_of) == {"sub-1", "sub-2", "sub-3"}


def test_files_of_one_name_are_refused() -> None:
    paths = [Path("a/sub-1_T1w.nii.gz"), Path("b/sub-1_T1w.nii.gz")]
    with pytest.raises(ConfigError, match=r"found the name of a/sub-1_T1w\.nii\.gz, need"):
        mended(paths, Path("out"))


def test_mended_headers_keep_voxels_and_directions(phantom_folder: Path, tmp_path: Path) -> None:
    files = divided(phantom_folder)
    spacing_mm = (1.0, 2.0, 9.0)
    (path,) = mend(files.scored, tmp_path, spacing_mm, is_label=False)
    (reference,) = mend(files.references, tmp_path, spacing_mm, is_label=True)
    assert path == tmp_path / files.scored[0].name
    old, new = read_volume(files.scored[0]), read_volume(path)
    np.testing.assert_allclose(new.grid.spacing_mm, [1, 2, 9], rtol=1e-5)
    np.testing.assert_allclose(new.data, old.data, rtol=1e-5)
    turns = [volume.grid.affine[:3, :3] / volume.grid.spacing_mm for volume in (old, new)]
    np.testing.assert_allclose(*turns, atol=1e-5)
    assert read_label_map(reference).grid.same_as(new.grid)
