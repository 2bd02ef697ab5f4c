"""Readings of one scan, with a bias field and without, are compared in the scan's own unit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seg_prior.api import Segmenter
from seg_prior.inference.drift import evidence
from seg_prior.io.read import read_volume


@pytest.mark.parametrize("factor", [10.0, 0.5])
def test_evidence_is_a_density_of_the_scan_s_own_unit(
    factor: float, phantom_folder: Path, tiny_atlas: Path
) -> None:
    segmenter = Segmenter.load(tiny_atlas, device="cpu", threads=1)
    scan = read_volume(sorted(phantom_folder.glob("*_phantom.nii.gz"))[0])
    one = segmenter.segment(scan)
    brighter = replace(scan, data=factor * scan.data)
    other = segmenter.segment(brighter)
    expected = evidence(one, scan.data) - np.log(factor)
    assert evidence(other, brighter.data) == pytest.approx(expected, abs=1e-4)
    assert one.divided is None
