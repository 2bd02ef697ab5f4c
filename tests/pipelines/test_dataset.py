from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from experiments.config import AdaptConfig
from experiments.dataset import deal, prepare
from seg_prior.errors import ConfigError
from seg_prior.io.find import participant_of
from seg_prior.io.nifti import read_label_map, read_volume


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


def config_of(phantom_folder: Path, out: Path, **more: object) -> AdaptConfig:
    settings = {
        "name": "heads",
        "data": phantom_folder,
        "images": "*_phantom.nii.gz",
        "labels": "*_dseg.nii.gz",
        "out": out,
        "shares": (2, 1, 1),
    }
    return AdaptConfig.model_validate(settings | more)


def test_no_subject_has_two_roles(phantom_folder: Path, tmp_path: Path) -> None:
    files = prepare(config_of(phantom_folder, tmp_path))
    people = [
        {participant_of(path) for path in paths}
        for paths in (files.maps, files.images, files.scored)
    ]
    assert [len(some) for some in people] == [2, 1, 1]
    assert len(set.union(*people)) == 4
    listed = files.lists["references"].read_text().split()
    assert [Path(line).name for line in listed] == [path.name for path in files.references]


def test_mended_headers_keep_voxels_and_directions(phantom_folder: Path, tmp_path: Path) -> None:
    files = prepare(config_of(phantom_folder, tmp_path, header_spacing_mm=(1.0, 2.0, 9.0)))
    path = files.scored[0]
    old, new = read_volume(phantom_folder / path.name), read_volume(path)
    np.testing.assert_allclose(new.grid.spacing_mm, [1, 2, 9], rtol=1e-5)
    np.testing.assert_allclose(new.data, old.data, rtol=1e-5)
    turns = [volume.grid.affine[:3, :3] / volume.grid.spacing_mm for volume in (old, new)]
    np.testing.assert_allclose(*turns, atol=1e-5)
    label_map = read_label_map(files.references[0])
    assert label_map.grid.same_as(new.grid)
