"""The Python interface: what it takes, what it gives, and that it leaves nothing behind."""

import gc
import os
import pickle
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

import seg_prior
from seg_prior import Segmentation, Segmenter
from seg_prior.checkpoints.file import load_model, save_model
from seg_prior.errors import (
    CheckpointError,
    ConfigError,
    ExtraError,
    ImageError,
    LabelsError,
)
from seg_prior.inference.predictor import is_stripped
from seg_prior.io.read import read_volume


@pytest.fixture(scope="module")
def segmenter(tiny_atlas: Path) -> Segmenter:
    return Segmenter.load(tiny_atlas, device="cpu", threads=1)


@pytest.fixture(scope="module")
def scan(phantom_folder: Path) -> Path:
    return phantom_folder / "sub-004_phantom.nii.gz"


@pytest.fixture(scope="module")
def result(segmenter: Segmenter, scan: Path) -> Segmentation:
    return segmenter.segment(scan)


def test_a_generous_mask_shows_background(segmenter: Segmenter, result: Segmentation) -> None:
    location = segmenter.model.location
    is_anatomy = location.scatter((location.log_prob[None, :1].exp() < 0.1).float(), 0.0)[0]
    whole = replace(result.registered, observed=is_anatomy)
    tight = replace(whole, registration=replace(whole.registration, view="stripped"))
    generous = replace(tight, observed=torch.ones_like(is_anatomy))
    found = [is_stripped(one, location) for one in (tight, generous, whole)]
    assert whole.registration.view == "crop"
    assert found == [True, False, False]


def test_a_path_an_image_and_an_array_are_one_scan(
    segmenter: Segmenter, scan: Path, result: Segmentation
) -> None:
    image = nib.load(scan)
    in_memory = nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine)
    array = np.asanyarray(image.dataobj)
    for again in (
        segmenter.segment(str(scan)),
        segmenter.segment(in_memory),
        segmenter.segment(array, image.affine),
        segmenter.segment(read_volume(scan)),
    ):
        assert np.array_equal(again.label_map, result.label_map)
    assert len(np.unique(result.label_map)) > 5


def test_posteriors_are_probabilities_whose_best_is_the_label_map(
    segmenter: Segmenter, result: Segmentation
) -> None:
    table = segmenter.label_table
    stack = np.stack([result.posterior(int(id_)) for id_ in table.ids])
    assert stack.shape == (len(table), *result.label_map.shape)
    np.testing.assert_allclose(stack.sum(0), 1, atol=1e-4)
    best = table.ids[stack.argmax(0)]
    assert (best == result.label_map).mean() > 0.9999  # but for ties
    by_name = result.posterior(table.names[3])
    assert np.array_equal(by_name, stack[3])
    for one, other in zip(result.posteriors(), stack[1:], strict=True):
        assert np.array_equal(one, other)
    certain = stack.max(0) > 0.999
    assert result.entropy[certain].max() < 0.02 < result.entropy.max()


def test_volumes_are_those_of_label_map_and_posteriors(result: Segmentation) -> None:
    voxel_mm3 = result.volume.grid.voxel_volume_mm3
    assert [v.id for v in result.volumes] == result.predictor.label_table.ids[1:].tolist()
    for volume in result.volumes:
        assert volume.hard_mm3 == pytest.approx((result.label_map == volume.id).sum() * voxel_mm3)
        soft_mm3 = result.posterior(volume.name).sum(dtype=np.float64) * voxel_mm3
        assert volume.soft_mm3 == pytest.approx(soft_mm3, rel=1e-4)
        assert not volume.touches_edge


def test_a_cut_scan_tells_which_labels_reach_its_edge(segmenter: Segmenter, scan: Path) -> None:
    image = nib.load(scan)
    half = image.slicer[: image.shape[0] // 2]
    result = segmenter.segment(half)
    touching = {v.id for v in result.volumes if v.touches_edge}
    faces = [np.moveaxis(result.label_map, a, 0)[[0, -1]] for a in range(3)]
    assert touching == set(np.concatenate([f.ravel() for f in faces]).tolist()) - {0}
    assert touching


def test_a_structure_counted_as_nothing_is_told_by_name(
    segmenter: Segmenter, result: Segmentation, scan: Path
) -> None:
    counted = [volume for volume in result.volumes if volume.hard_mm3 == 0]
    assert bool(counted) is any("counted as 0 mm3" in text for text in result.warnings)
    structures = [label for label in result.predictor.label_table.labels if label.is_structure]
    gone = next(n for n, one in enumerate(result.predictor.label_table.labels) if one.is_structure)
    best = result.summary.best.clone()
    best[best == gone] = 0
    without = replace(result, summary=replace(result.summary, best=best))
    (told,) = (text for text in without.warnings if "counted as 0 mm3" in text)
    assert structures[0].name in told


def test_save_writes_what_the_command_would(result: Segmentation, tmp_path: Path) -> None:
    files = result.save(tmp_path / "deep" / "folder")
    assert all(file.is_file() for file in files)
    label_map = next(file for file in files if file.name.endswith("_dseg.nii.gz"))
    assert np.array_equal(read_volume(label_map).data, result.label_map)


def test_labels_are_found_by_name_in_any_case(result: Segmentation) -> None:
    name = result.predictor.label_table.names[3]
    assert name != name.upper()
    by_name = result.posterior(name)
    assert np.array_equal(result.posterior(name.upper()), by_name)
    assert np.array_equal(result.posterior(name.lower()), by_name)


def test_what_is_shown_of_an_object_is_a_line(segmenter: Segmenter, result: Segmentation) -> None:
    grid, labels = result.volume.grid, len(segmenter.label_table) - 1
    spacing = " x ".join(f"{edge:.3g}" for edge in grid.spacing_mm)
    size = f"{' x '.join(map(str, grid.shape))} voxels of {spacing} mm"
    assert repr(grid) == f"Grid({size})"
    assert repr(result) == (
        f"Segmentation({result.volume.source}: {size}, {labels} labels by atlas.safetensors)"
    )
    assert (
        repr(result.volume) == f"Volume({result.volume.source}: {size}, {result.volume.data.dtype})"
    )
    assert repr(segmenter).startswith(f"Segmenter(atlas.safetensors: atlas, {labels} labels, ")
    assert repr(segmenter).endswith(" voxels of 5 x 5 x 5 mm, cpu)")
    assert repr(segmenter.label_table).startswith(f"LabelTable({labels + 1} labels: Background, ")


def test_warnings_are_counted_where_a_result_is_shown(result: Segmentation) -> None:
    assert "warning" not in repr(result)
    odd = replace(result.volume, warnings=("the header is odd", "and so is the rest"))
    assert repr(replace(result, volume=odd)).endswith(", 2 warnings)")


def test_a_notebook_shows_verdict_warnings_and_slices(result: Segmentation) -> None:
    odd = replace(result.volume, warnings=("a <b>bold</b> header",))
    cell = replace(result, volume=odd)._repr_html_()
    assert f"quality control: <strong>{result.verdict}</strong>" in cell
    assert "a &lt;b&gt;bold&lt;/b&gt; header" in cell
    assert cell.count('<img src="data:image/jpeg;base64,') == 3 * 6
    assert len(cell) < 500_000
    assert not re.search(r"https?://|<script|<style", cell)
    heights = [int(text) for text in re.findall(r' height="(\d+)"', cell)]
    assert max(heights) <= 150


def test_the_verdict_is_that_of_quality_control(result: Segmentation) -> None:
    assert result.verdict == result.qc.verdict == "not measured"


def test_the_report_is_written_where_asked(
    result: Segmentation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert result.report() == Path("sub-004_space-phantom_report.html")
    assert result.report(tmp_path / "deep" / "page.html") == tmp_path / "deep" / "page.html"
    for page in (tmp_path / "sub-004_space-phantom_report.html", tmp_path / "deep" / "page.html"):
        assert "<title>sub-004_phantom.nii.gz" in page.read_text("utf-8")


def test_the_data_frame_is_the_table_that_is_written(result: Segmentation, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    (table,) = (file for file in result.save(tmp_path) if file.name.endswith("_volumes.tsv"))
    written = pd.read_csv(table, sep="\t", dtype={"index": "Int64"}, keep_default_na=True)
    frame = result.to_dataframe()
    assert list(frame.columns) == list(written.columns)
    assert frame["index"].tolist() == written["index"].tolist()
    assert frame["name"].tolist() == written["name"].tolist()
    assert frame["touches_edge"].tolist() == written["touches_edge"].tolist()
    assert frame["quality"].tolist() == written["quality"].tolist()
    for column in ("volume_mm3", "posterior_volume_mm3"):
        np.testing.assert_allclose(frame[column], written[column], atol=0.051)
    assert frame[["low_mm3", "high_mm3", "z"]].isna().all(axis=None)


def test_without_pandas_one_line_says_what_to_install(
    result: Segmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        ExtraError, match=r"no pandas.*pip install 'seg-prior\[notebook\]'"
    ) as error:
        result.to_dataframe()
    assert "\n" not in str(error.value)


def test_what_does_not_fit_is_refused(
    segmenter: Segmenter, scan: Path, result: Segmentation, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match="found a ndarray without an affine"):
        segmenter.segment(np.zeros((5, 5, 5)))
    with pytest.raises(ImageError, match="found a PosixPath with an affine"):
        segmenter.segment(scan, np.eye(4))
    with pytest.raises(ImageError, match="<array>: found a 2D image"):
        segmenter.segment(np.zeros((5, 5)), np.eye(4))
    with pytest.raises(ImageError, match=r"nowhere\.nii: no such file"):
        segmenter.segment("nowhere.nii")
    with pytest.raises(LabelsError, match="label: found 'Spleen', need one of"):
        result.posterior("Spleen")
    with pytest.raises(CheckpointError, match="no such file"):
        Segmenter.load(tmp_path / "none.safetensors")
    with pytest.raises(ConfigError, match="threads: found -1, need"):
        Segmenter.load(threads=-1)
    with pytest.raises(ConfigError, match="device: found 'tpu'"):
        Segmenter.load(device="tpu")


def test_nothing_is_printed_and_nothing_global_changes(
    tiny_atlas: Path, scan: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(7)
    before = torch.get_num_threads(), torch.random.get_rng_state(), torch.is_grad_enabled()
    Segmenter.load(tiny_atlas, device="cpu", threads=2).segment(scan)
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])
    assert torch.is_grad_enabled() == before[2]
    assert capfd.readouterr() == ("", "")


LOOP = """
import sys
from seg_prior import Segmenter
def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * {page} / 1e6
segmenter = Segmenter.load(sys.argv[1], device="cpu", threads=1)
for call in range(25):
    result = segmenter.segment(sys.argv[2])
    result.volumes
    print(resident_mb())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_flat_over_twenty_calls(tiny_atlas: Path, scan: Path) -> None:
    script = LOOP.format(page=resource.getpagesize())
    done = subprocess.run(
        [sys.executable, "-c", script, str(tiny_atlas), str(scan)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    resident_mb = [float(line) for line in done.stdout.split()]
    assert len(resident_mb) == 25
    # One result holds 3 MB here; the allocator has settled after five calls.
    assert max(resident_mb[5:]) - resident_mb[5] < 10, resident_mb


def test_the_package_offers_it_without_importing_it() -> None:
    script = "import sys, seg_prior; print('torch' in sys.modules, dir(seg_prior))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False ['Segmentation', 'Segmenter', '__version__']\n"
    with pytest.raises(AttributeError, match="has no attribute 'Segmentr'"):
        _ = seg_prior.Segmentr


def test_one_thread_asked_for_is_one_thread_in_all_that_a_result_makes(
    segmenter: Segmenter, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    plain = Segmenter.joints

    def watched(*args: Any) -> Iterator[torch.Tensor]:
        for joint in plain(*args):
            seen.append(torch.get_num_threads())
            yield joint

    monkeypatch.setattr(Segmenter, "joints", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        result = segmenter.segment(scan)
        name = segmenter.label_table.names[1]
        makes: list[Callable[[], object]] = [
            lambda: result.volumes,
            lambda: result.posterior(name),
            lambda: list(result.posteriors()),
            lambda: result.qc,
            lambda: result.background_probability,
            lambda: result.save(tmp_path),
        ]
        for make in makes:
            seen.append(1)
            make()
            assert set(seen) == {1}
            assert torch.get_num_threads() == 2  # what the caller has is the caller's
            seen.clear()
    finally:
        torch.set_num_threads(before)


def test_a_result_pickles_without_the_model(
    segmenter: Segmenter, tiny_atlas: Path, result: Segmentation
) -> None:
    raw = pickle.dumps(result)
    assert len(raw) < len(pickle.dumps(segmenter.model.prior)) + 100 * result.volume.data.size
    again = pickle.loads(raw)
    assert again.predictor is segmenter  # and not another copy of it
    assert np.array_equal(again.label_map, result.label_map)
    assert again.volumes == result.volumes
    assert again.verdict == result.verdict
    assert len(pickle.dumps(segmenter)) < 5000
    assert pickle.loads(pickle.dumps(segmenter)) is segmenter


def test_a_pickled_result_of_a_model_that_changed_is_refused(
    tiny_atlas: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    shutil.copy(tiny_atlas, path)
    raw = pickle.dumps(Segmenter.load(path, device="cpu", threads=1))
    assert isinstance(pickle.loads(raw), Segmenter)
    gc.collect()
    model = load_model(path)
    save_model(path, model.header.model_copy(update={"provenance": {}}), model.prior)
    with pytest.raises(CheckpointError, match=r"a\.safetensors: found another model than the res"):
        pickle.loads(raw)


_FORK = """
import sys
from multiprocessing import get_context
import torch
from seg_prior import Segmenter
torch.set_num_threads(2)
segmenter = Segmenter.load(sys.argv[1], device="cpu", threads=1)
def volumes_of(path):
    return [volume.hard_mm3 for volume in segmenter.segment(path).volumes]
here = volumes_of(sys.argv[2])
with get_context("fork").Pool(1) as pool:
    there = pool.map_async(volumes_of, [sys.argv[2]]).get(timeout=float(sys.argv[3]))[0]
assert here == there, (here, there)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_worker_returns_after_the_parent_has_used_the_model(
    tiny_atlas: Path, scan: Path
) -> None:
    argv = [sys.executable, "-c", _FORK, str(tiny_atlas), str(scan), "600"]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
