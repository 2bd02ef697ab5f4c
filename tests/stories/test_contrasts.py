"""Several contrasts of one scan, from files and arrays to one label map."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

from seg_prior import Segmenter
from seg_prior.cli.app import main
from seg_prior.core.grid import Grid
from seg_prior.core.volume import Volume
from seg_prior.errors import ImageError
from seg_prior.io.read import read_volume
from seg_prior.io.write import write_volume
from seg_prior.registration.resample import resample
from seg_prior.synthesis.phantom import (
    CORE,
    CORTEX,
    make_phantom,
    phantom_label_table,
)

HEAD = make_phantom(4, spacing_mm=3.0)
# Intensities of (background, fluid, grey, white, nucleus).
NO_BORDER = (0.0, 0.3, 0.8, 0.8, 0.6)  # grey and white matter look the same
BORDER = (0.0, 0.9, 0.5, 0.2, 0.6)


@pytest.fixture(scope="module")
def segmenter(tiny_atlas: Path) -> Segmenter:
    return Segmenter.load(tiny_atlas, device="cpu", threads=1)


def paint(intensities: tuple[float, ...], name: str, head: Volume = HEAD.label_map) -> Volume:
    """A label map in a contrast of its own, 0 around it."""
    table = phantom_label_table()
    names = ("background", "fluid", "grey", "white", "nucleus")
    of_class = dict(zip(names, intensities, strict=True))
    of_label = np.array([of_class[label.intensity_class] for label in table.labels])
    indices = table.remap(head.data, "<phantom>")
    noise = 0.05 * np.random.default_rng(len(name)).standard_normal(indices.shape)
    data = np.where(indices > 0, 100 * (1 + of_label[indices] + noise), 0)
    return Volume(data.astype(np.float32), head.grid, source=name)


FIRST, SECOND = paint(NO_BORDER, "first.nii.gz"), paint(BORDER, "second.nii.gz")


def oblique(spacing_mm: float) -> Grid:
    """Turned by 25 degrees, flipped, and large enough for the head."""
    cos, sin = math.cos(math.radians(25)), math.sin(math.radians(25))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    affine[:3, :3] *= np.array([-1, 1, 1.2]) * spacing_mm
    shape = (120, 120, 110)
    affine[:3, 3] = HEAD.image.grid.center_mm - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def dice(found: NDArray[np.int32], label_id: int) -> float:
    known, found = HEAD.label_map.data == label_id, found == label_id
    return float(2 * (known & found).sum() / (known.sum() + found.sum()))


def test_a_second_contrast_shows_the_border_that_the_first_lacks(segmenter: Segmenter) -> None:
    alone, both = segmenter.segment(FIRST), segmenter.segment(FIRST, contrasts=[SECOND])
    for label_id in (CORTEX, CORE):
        assert dice(both.label_map, label_id) > 0.82
        assert dice(both.label_map, label_id) > dice(alone.label_map, label_id) + 0.05
    assert both.label_map.shape == FIRST.grid.shape


def test_contrasts_on_grids_of_their_own_give_what_they_give_on_one(segmenter: Segmenter) -> None:
    grid = oblique(1.5)
    ids = np.unique(HEAD.label_map.data)  # of which 0, the background, is the first
    shares = torch.from_numpy(HEAD.label_map.data == ids[:, None, None, None]).float()
    there = ids[resample(shares, HEAD.label_map.grid, grid).argmax(0).numpy()]
    scanned = paint(BORDER, "scanned apart", Volume(there, grid))
    one = segmenter.segment(FIRST, contrasts=[SECOND])
    own = segmenter.segment(FIRST, contrasts=[scanned])
    assert np.array_equal(own.volume.grid.affine, FIRST.grid.affine)
    anatomy = HEAD.label_map.data > 0
    assert (one.label_map == own.label_map)[anatomy].mean() > 0.95
    for label_id in (CORTEX, CORE):
        assert dice(own.label_map, label_id) > dice(one.label_map, label_id) - 0.03


def test_the_order_of_further_contrasts_does_not_matter(segmenter: Segmenter) -> None:
    third = paint((0.0, 0.5, 0.1, 0.4, 0.9), "the third.nii.gz")
    plain = segmenter.segment(FIRST, contrasts=[SECOND, third])
    turned = segmenter.segment(FIRST, contrasts=[third, SECOND])
    # Labels that are equally likely may change places.
    assert (plain.label_map == turned.label_map).mean() > 0.999
    np.testing.assert_allclose(plain.entropy, turned.entropy, atol=1e-3)


def test_where_a_contrast_was_not_measured_the_first_decides(segmenter: Segmenter) -> None:
    """A slab of the second contrast: outside it lies exactly nothing."""
    index = np.arange(SECOND.grid.shape[2])
    slab = Volume(
        np.where(index < 0.6 * index.size, SECOND.data, 0).astype(np.float32),
        SECOND.grid,
        source="slab.nii.gz",
    )
    registered = segmenter.segment(FIRST, contrasts=[slab]).registered
    outside = index >= 0.6 * index.size
    assert not registered.native_observed[1][:, :, outside].any()
    assert not registered.native[1][:, :, outside].any()
    in_first = registered.native_observed[0].numpy()
    assert np.array_equal(in_first, segmenter.segment(FIRST).registered.native_observed[0].numpy())


def test_a_contrast_from_elsewhere_is_refused_by_both_names(segmenter: Segmenter) -> None:
    affine = SECOND.grid.affine.copy()
    affine[2, 3] += 90.0
    away = Volume(SECOND.data, Grid(SECOND.grid.shape, affine), source="away.nii.gz")
    with pytest.raises(
        ImageError, match=r"^away\.nii\.gz: found \d+% of the field of view of first\.nii\.gz"
    ):
        segmenter.segment(FIRST, contrasts=[SECOND, away])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both contrasts as files."""
    folder = tmp_path_factory.mktemp("contrasts")
    paths = {name: folder / f"head_{name}.nii.gz" for name in ("first", "second")}
    write_volume(paths["first"], FIRST.data, FIRST)
    write_volume(paths["second"], SECOND.data, SECOND)
    return paths


def command(files: dict[str, Path], out: Path, model: Path) -> list[str]:
    place = ["segment", str(files["first"]), str(out), "--model", str(model)]
    return [*place, "--contrasts", str(files["second"]), "--device", "cpu", "--threads", "1"]


def test_the_command_writes_what_the_segmenter_finds_and_names_the_contrasts(
    files: dict[str, Path], segmenter: Segmenter, tiny_atlas: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.nii.gz"
    assert main(command(files, out, tiny_atlas)) == 0
    expected = segmenter.segment(files["first"], contrasts=[files["second"]])
    assert np.array_equal(read_volume(out).data, expected.label_map)
    sidecar = json.loads((tmp_path / "out.json").read_text())
    assert sidecar["source"] == str(files["first"])
    assert sidecar["contrasts"] == [str(files["second"])]
    assert {len(gaussian["mean"]) for gaussian in sidecar["intensities"]} == {2}


def test_a_dry_run_shows_the_contrasts(
    files: dict[str, Path], tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = command(files, tmp_path / "out.nii.gz", tiny_atlas)
    assert main([*argv, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert f"# reads {files['second']}" in shown.splitlines()
    assert yaml.safe_load(shown)["contrasts"] == [str(files["second"])]


def test_another_contrast_is_another_request(
    files: dict[str, Path], tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = command(files, tmp_path / "out.nii.gz", tiny_atlas)
    told, cut = [], argv.index("--contrasts")
    for line in (argv, argv, argv[:cut] + argv[cut + 2 :]):
        assert main(line) == 0
        told.append("finished" in capsys.readouterr().out)
    assert told == [False, True, False]


def refusal(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(argv) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    return shown.err.removeprefix("seg-prior: ")


def test_contrasts_of_several_scans_and_the_scan_itself_are_refused(
    files: dict[str, Path], tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (str(path) for path in files.values())
    common = ["--model", str(tiny_atlas)]
    several = ["segment", first, second, str(tmp_path / "out"), *common, "--contrasts", second]
    line = refusal(several, capsys)
    assert line.startswith(f"contrasts: found 2 scans, {first} the first, need one")
    itself = ["segment", first, str(tmp_path / "out"), *common, "--contrasts", second, first]
    assert refusal(itself, capsys).startswith(f"contrasts: found {first}, which is the scan itself")
    missing = ["segment", first, str(tmp_path / "o"), *common, "--contrasts", "none.nii.gz"]
    assert refusal(missing, capsys).startswith("none.nii.gz: no such file")
    assert not any(tmp_path.iterdir())
