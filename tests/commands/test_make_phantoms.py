"""Phantoms on disk are the phantoms in memory, under names that other stages read."""

from pathlib import Path

import numpy as np
import pytest

from seg_prior.cli.settings import resolve
from seg_prior.commands import make_phantoms
from seg_prior.commands.make_phantoms import PhantomFiles
from seg_prior.errors import ConfigError
from seg_prior.io.find import scan_key
from seg_prior.io.label_tables import read_label_table
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.synthesis.phantom import phantom_label_table

SPACING_MM = 8.0


def run(out: Path, num: int, seed: int = 0, spacing_mm: float = SPACING_MM) -> PhantomFiles:
    given = {"out": out, "num": num, "seed": seed, "spacing_mm": spacing_mm}
    return make_phantoms.run(resolve(make_phantoms.Config, None, given))


def test_files_are_named_by_subject_and_nothing_else_is_left(tmp_path: Path) -> None:
    files = run(tmp_path / "new" / "folder", 2)
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "labels.tsv",
        "sub-001_phantom.nii.gz",
        "sub-001_phantom_dseg.nii.gz",
        "sub-002_phantom.nii.gz",
        "sub-002_phantom_dseg.nii.gz",
    ]
    assert [scan_key(path) for path in files.images] == ["sub-001", "sub-002"]
    assert [scan_key(path) for path in files.label_maps] == ["sub-001", "sub-002"]


def test_image_and_label_map_share_a_grid_and_are_readable(tmp_path: Path) -> None:
    files = run(tmp_path, 1)
    image, label_map = read_volume(files.images[0]), read_label_map(files.label_maps[0])
    assert image.grid.same_as(label_map.grid)
    assert image.warnings == label_map.warnings == ()
    ids = phantom_label_table().ids
    assert set(np.unique(label_map.data).tolist()) <= set(ids.tolist())
    assert image.header.get_xyzt_units()[0] == "mm"


def test_table_reads_back_as_it_is(tmp_path: Path) -> None:
    files = run(tmp_path, 1)
    assert read_label_table(files.label_table) == phantom_label_table()


def test_a_subject_does_not_depend_on_how_many_are_made(tmp_path: Path) -> None:
    few = run(tmp_path / "few", 1, seed=4)
    many = run(tmp_path / "many", 3, seed=4)
    one, same = read_volume(few.images[0]), read_volume(many.images[0])
    np.testing.assert_array_equal(one.data, same.data)
    assert one.grid.same_as(same.grid)


def test_seeds_share_no_head(tmp_path: Path) -> None:
    sums = [
        float(read_volume(path).data.sum())
        for seed in (0, 1, 2)
        for path in run(tmp_path / str(seed), 3, seed).images
    ]
    assert len(set(sums)) == 9


@pytest.mark.parametrize(
    ("num", "seed", "spacing_mm", "message"),
    [
        (0, 0, 3.0, "num: found 0, need greater than or equal to 1"),
        (1, -1, 3.0, "seed: found -1, need greater than or equal to 0"),
        (1, 0, 0.5, "spacing_mm: found 0.5, need greater than or equal to 1"),
        (1, 0, float("nan"), "spacing_mm: found nan, need a finite number"),
    ],
)
def test_a_wrong_number_is_refused_and_nothing_is_written(
    tmp_path: Path, num: int, seed: int, spacing_mm: float, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(tmp_path / "out", num, seed, spacing_mm)
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ConfigError, match=r"out: found a file, need a folder"):
        run(tmp_path / "out", 1)
    assert (tmp_path / "out").read_text() == "mine"
