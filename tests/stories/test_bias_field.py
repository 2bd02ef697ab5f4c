"""A scan that is bright in the middle, as of a 7 T scanner: it is read as its even twin is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seg_prior.api import Segmentation, Segmenter
from seg_prior.commands import make_phantoms
from seg_prior.core.volume import Volume
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.metrics.overlap import dice_by_id

STRENGTH = 1.2
"""Log of the field in the middle by that where an axis leaves the view."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Volume, np.ndarray]:
    """A head at 2.5 mm and its labels."""
    folder = tmp_path_factory.mktemp("fine")
    make_phantoms.run(make_phantoms.Config(out=folder, num=1, spacing_mm=2.5))
    (scan,) = folder.glob("*_phantom.nii.gz")
    (labels,) = folder.glob("*_dseg.nii.gz")
    return read_volume(scan), read_label_map(labels).data


def in_a_field(scan: Volume) -> Volume:
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in scan.grid.shape), indexing="ij")
    field = np.exp(STRENGTH * (1 - (x**2 + y**2 + z**2)))
    return replace(scan, data=(scan.data * field).astype(np.float32))


def mean_dice(result: Segmentation, truth: np.ndarray) -> float:
    return float(np.mean(list(dice_by_id(result.label_map, truth).values())))


def test_a_strong_field_is_divided_out_and_told(
    pair: tuple[Volume, np.ndarray], tiny_atlas: Path
) -> None:
    scan, truth = pair
    segmenter = Segmenter.load(tiny_atlas, device="cpu", threads=1)
    even, odd = segmenter.segment(scan), segmenter.segment(in_a_field(scan))
    assert even.divided is None
    assert not any("bright" in text for text in even.warnings)
    assert odd.divided is not None
    assert any("read again without this bias field" in text for text in odd.warnings)
    assert odd.bias_left is not None
    assert odd.bias_left.ratio < odd.divided.ratio
    assert mean_dice(odd, truth) > mean_dice(even, truth) - 0.02
