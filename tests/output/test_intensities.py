"""Mean and deviation by structure and contrast."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from seg_prior.api import Segmenter
from seg_prior.config.output import OutputOptions


def test_each_contrast_has_its_own_moments_in_its_own_units(
    tiny_atlas: Path, phantom_folder: Path, tmp_path: Path
) -> None:
    scan = phantom_folder / "sub-004_phantom.nii.gz"
    image = nib.load(scan)
    data = np.asanyarray(image.dataobj)
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = data.shape[0] - 1
    nib.save(nib.Nifti1Image(7 + 3 * data[::-1], image.affine @ flip), tmp_path / "T2w.nii.gz")
    segmenter = Segmenter.load(tiny_atlas, device="cpu", threads=1)
    result = segmenter.segment(scan, contrasts=[tmp_path / "T2w.nii.gz"])
    result.write(tmp_path / "a_dseg.nii.gz", OutputOptions(intensities=True))
    with (tmp_path / "a_intensities.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 2 * 9
    for row in rows:
        inside = data[result.label_map == int(row["index"])].astype(float)
        scale, shift = (3, 7) if row["contrast"] == "T2w.nii.gz" else (1, 0)
        assert int(row["num_voxels"]) == inside.size
        assert float(row["mean"]) == pytest.approx(scale * inside.mean() + shift, rel=1e-4)
        assert float(row["sd"]) == pytest.approx(scale * inside.std(), rel=1e-3)
