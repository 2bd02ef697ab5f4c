"""What the viewer shows is the scan: same voxels, same place, small."""

import base64
import gzip
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from seg_prior.core.grid import apply_affine
from seg_prior.report import viewer
from seg_prior.report.viewer import viewer_data
from tests.report.toy import large_report, toy_report


def decode(text: str) -> Any:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def test_each_label_lies_where_it_lay() -> None:
    report = toy_report()
    shown = decode(viewer_data(report).label_map)
    data = np.asarray(shown.dataobj)
    assert data.size < report.label_map.size
    for index in (1, 2):
        before = apply_affine(report.grid.affine, np.argwhere(report.label_map == index))
        after = apply_affine(shown.affine, np.argwhere(data == index))
        np.testing.assert_allclose(after, before, atol=1e-3)


def test_the_anatomy_keeps_a_margin_in_millimeters() -> None:
    shape = decode(viewer_data(toy_report()).label_map).shape
    # 8 mm are 6 voxels of 1.5 mm, 4 of 2 mm and 8 of 1 mm.
    assert shape == (32 + 2 * 6, 16 + 2 * 4, 20 + 2 * 8)


def test_entropy_is_stored_in_steps() -> None:
    report = toy_report()
    data = viewer_data(report)
    steps = np.asarray(decode(data.entropy).dataobj)
    assert steps.max() * data.entropy_step_nats == pytest.approx(0.5, abs=data.entropy_step_nats)
    assert (steps > 0).sum() == (report.entropy > 0).sum()


def test_a_huge_scan_is_thinned_along_its_finest_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "MAX_VOXELS", 60_000)
    data = viewer_data(large_report(4))
    assert data.step[0] > 1
    assert data.step[1:] == (1, 1)
    shown = decode(data.label_map)
    assert np.prod(shown.shape) <= 60_000
    middle = apply_affine(shown.affine, np.argwhere(np.asarray(shown.dataobj) == 1)).mean(0)
    report = toy_report()
    expected = apply_affine(report.grid.affine, np.argwhere(report.label_map == 1)).mean(0)
    np.testing.assert_allclose(middle, expected, atol=1.5)


def test_names_and_colors_follow_the_index() -> None:
    labels = viewer_data(toy_report()).labels
    assert [label["id"] for label in labels] == [0, 17, 53]
    assert labels[1]["name"] == "Left-Box<i>"
    assert len({tuple(label["colour"]) for label in labels}) == 3


def test_the_same_scan_gives_the_same_bytes() -> None:
    assert viewer_data(toy_report()) == viewer_data(toy_report())
