"""The map of departures beside a label map, which it leaves as it was."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from seg_prior.api import Segmenter
from seg_prior.config.output import OutputOptions
from seg_prior.inference.departure import THRESHOLD_SD


def test_the_map_lies_on_the_scan_and_its_json_says_what_it_is(
    tiny_atlas: Path, phantom_folder: Path, tmp_path: Path
) -> None:
    scan = phantom_folder / "sub-004_phantom.nii.gz"
    segmenter = Segmenter.load(tiny_atlas, device="cpu", threads=1)
    plain, asked = tmp_path / "plain" / "a_dseg.nii.gz", tmp_path / "asked" / "a_dseg.nii.gz"
    segmenter.segment(scan).write(plain, OutputOptions(volumes=True))
    result = segmenter.segment(scan)
    result.write(asked, OutputOptions(volumes=True, departure=True))
    for name in ("a_dseg.nii.gz", "a_volumes.tsv"):
        assert plain.with_name(name).read_bytes() == asked.with_name(name).read_bytes()
    new = {path.name for path in asked.parent.iterdir()} - {p.name for p in plain.parent.iterdir()}
    assert new == {"a_departure.nii.gz", "a_departure.json"}
    written, image = nib.load(asked.with_name("a_departure.nii.gz")), nib.load(scan)
    assert written.shape == image.shape
    np.testing.assert_array_equal(written.affine, image.affine)
    np.testing.assert_array_equal(written.get_fdata(dtype=np.float32), result.departure[0])
    assert np.abs(result.departure).max() > 1
    about = json.loads(asked.with_name("a_departure.json").read_text())
    assert about["threshold"] == THRESHOLD_SD
    assert about["Units"].startswith("standard deviations")
    assert about["contrasts"] == [scan.name]


def test_of_several_contrasts_there_is_a_volume_each(
    tiny_atlas: Path, phantom_folder: Path, tmp_path: Path
) -> None:
    scan = phantom_folder / "sub-004_phantom.nii.gz"
    segmenter = Segmenter.load(tiny_atlas, device="cpu", threads=1)
    result = segmenter.segment(scan, contrasts=[phantom_folder / "sub-003_phantom.nii.gz"])
    result.write(tmp_path / "a_dseg.nii.gz", OutputOptions(departure=True))
    written = nib.load(tmp_path / "a_departure.nii.gz")
    assert written.shape == (*nib.load(scan).shape, 2)
    values = np.moveaxis(written.get_fdata(dtype=np.float32), 3, 0)
    np.testing.assert_array_equal(values, result.departure)
    about = json.loads((tmp_path / "a_departure.json").read_text())
    assert about["contrasts"] == [scan.name, "sub-003_phantom.nii.gz"]
