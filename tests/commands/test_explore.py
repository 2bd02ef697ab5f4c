"""Walks through a prior: files, tables, and what is refused."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from seg_prior.checkpoints.header import read_header
from seg_prior.commands.explore import Config, ExploreFiles, files, run
from seg_prior.errors import CheckpointError, ConfigError, LabelsError


def maps(folder: Path, *numbers: int) -> list[Path]:
    return [folder / f"sub-00{number}_phantom_dseg.nii.gz" for number in numbers]


def explore(model: Path, out: Path, **more: object) -> ExploreFiles:
    settings = {"model": model, "out": out, "device": "cpu", "threads": 1}
    return run(Config.model_validate(settings | more))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_directions_of_a_prior_alone(tiny_pca: Path, tmp_path: Path) -> None:
    written = explore(tiny_pca, tmp_path / "out", num=2)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "direction-1_dseg.nii.gz",
        "direction-2_dseg.nii.gz",
        "explore.html",
        "volumes.tsv",
    ]
    header = read_header(tiny_pca)
    series = nib.load(written.series[0])
    assert series.shape == (*header.shape, 7)
    np.testing.assert_allclose(series.affine, header.grid.affine)
    values = np.asanyarray(series.dataobj)
    assert set(np.unique(values)) <= set(header.label_table.ids)
    assert (values[..., 0] != values[..., -1]).any()
    # Both pass through the same middle.
    other = np.asanyarray(nib.load(written.series[1]).dataobj)
    np.testing.assert_array_equal(values[..., 3], other[..., 3])
    rows = table(written.volumes)
    num_labels = len(header.label_table.written) - 1
    assert len(rows) == 2 * 7 * num_labels
    first = [float(r["volume_mm3"]) for r in rows if r["walk"] == "direction-1"][0::num_labels]
    assert len(set(first)) == 7
    assert written.page.stat().st_size < 15_000_000


def test_between_maps_and_their_arithmetic(
    tiny_pca: Path, phantom_folder: Path, tmp_path: Path
) -> None:
    one, two, three, four = maps(phantom_folder, 1, 2, 3, 4)
    written = explore(
        tiny_pca,
        tmp_path,
        num=0,
        labels=[one, two, three, four],
        between=[one, two],
        arithmetic=[one, two, two],
    )
    assert [path.name for path in written.series] == [
        "between_dseg.nii.gz",
        "arithmetic_dseg.nii.gz",
    ]
    between, arithmetic = (np.asanyarray(nib.load(path).dataobj) for path in written.series)
    # OLD - YOUNG + YOUNG is OLD: the same way, the other way round.
    np.testing.assert_array_equal(arithmetic, between[..., ::-1])
    assert written.nearest is not None
    near = [row for row in table(written.nearest) if row["walk"] == "between"]
    assert (near[0]["nearest"], near[-1]["nearest"]) == (one.name, two.name)
    assert float(near[0]["distance"]) == pytest.approx(0, abs=1e-3)
    assert float(near[4]["distance"]) > 0.05


def test_directions_of_label_maps(tiny_prior: Path, phantom_folder: Path, tmp_path: Path) -> None:
    written = explore(tiny_prior, tmp_path, num=1, labels=[phantom_folder / "*_dseg.nii.gz"])
    assert written.nearest is not None
    assert len(table(written.nearest)) == 7


def test_a_prior_without_a_latent_is_refused(tiny_atlas: Path, tmp_path: Path) -> None:
    message = "kind 'atlas', which has no latent, need one to walk in. Train one by train-prior"
    with pytest.raises(CheckpointError, match=message):
        explore(tiny_atlas, tmp_path / "out")


def test_a_label_map_of_other_labels_is_refused(
    tiny_pca: Path, phantom_folder: Path, tmp_path: Path
) -> None:
    [known] = maps(phantom_folder, 1)
    image = nib.load(known)
    strange = tmp_path / "strange.nii.gz"
    ids = np.asanyarray(image.dataobj) + np.int16(900)
    nib.save(nib.Nifti1Image(ids, image.affine), strange)
    with pytest.raises(
        LabelsError, match=r"strange.nii.gz: found .* give a model maps of its own"
    ) as error:
        explore(tiny_pca, tmp_path / "out", between=[known, strange])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"between": 1}, "between: found 1 label maps, need 2. Give it A B"),
        ({"arithmetic": 2}, "arithmetic: found 2 label maps, need 3. Give it OLD YOUNG THIS"),
        ({"num": 0}, "num: found 0 and no other walk, need one"),
        ({"labels": 3}, "labels: found 3, need more than the 3 directions"),
        ({"num": 9}, "num: found 9, need at most 3, the directions that .* has"),
    ],
)
def test_what_does_not_fit_is_refused(
    tiny_pca: Path, phantom_folder: Path, tmp_path: Path, more: dict[str, int], message: str
) -> None:
    settings = {
        key: value if key == "num" else maps(phantom_folder, *range(1, value + 1))
        for key, value in more.items()
    }
    with pytest.raises(ConfigError, match=message):
        explore(tiny_pca, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_folder_is_refused(tiny_pca: Path, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(ConfigError, match="found a file, need a folder"):
        files(Config(model=tiny_pca, out=tmp_path / "out"))
