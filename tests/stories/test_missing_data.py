"""A mask of what to ignore: what is in it changes nothing, and the prior says what is there."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from seg_prior.api import Segmentation, Segmenter
from seg_prior.cli.app import main
from seg_prior.errors import ImageError


@pytest.fixture(scope="module")
def segmenter(tiny_prior: Path) -> Segmenter:
    return Segmenter.load(tiny_prior, device="cpu", threads=1, refine="full")


@pytest.fixture
def scan(phantom_folder: Path) -> nib.Nifti1Image:
    return nib.load(phantom_folder / "sub-004_phantom.nii.gz")


@pytest.fixture
def mask(scan: nib.Nifti1Image, phantom_folder: Path) -> nib.Nifti1Image:
    """A block in the middle of the head."""
    ids = np.asanyarray(nib.load(phantom_folder / "sub-004_phantom_dseg.nii.gz").dataobj)
    middle = np.argwhere(ids > 0).mean(0).astype(int)
    block = np.zeros(scan.shape, np.uint8)
    block[tuple(slice(n - 3, n + 4) for n in middle)] = 1
    return nib.Nifti1Image(block, scan.affine)


def spoiled(scan: nib.Nifti1Image, mask: nib.Nifti1Image, value: float) -> nib.Nifti1Image:
    data = np.asanyarray(scan.dataobj).copy()
    data[np.asanyarray(mask.dataobj) > 0] = value
    return nib.Nifti1Image(data, scan.affine)


def test_no_intensity_in_the_mask_is_looked_at(
    segmenter: Segmenter, scan: nib.Nifti1Image, mask: nib.Nifti1Image
) -> None:
    first = segmenter.segment(spoiled(scan, mask, 1e5), ignore=mask)
    again = segmenter.segment(spoiled(scan, mask, -7.0), ignore=mask)
    assert (first.label_map == again.label_map).all()
    assert first.soft_mm3 == again.soft_mm3
    assert first.registered.num_ignored == int(np.asanyarray(mask.dataobj).sum())
    assert first.estimate.elbo == again.estimate.elbo


def test_in_the_mask_the_prior_speaks_alone(
    segmenter: Segmenter, scan: nib.Nifti1Image, mask: nib.Nifti1Image
) -> None:
    inside = np.asanyarray(mask.dataobj) > 0
    result = segmenter.segment(spoiled(scan, mask, 1e5), ignore=mask)
    alone = Segmenter.load(segmenter.config.model, device="cpu", threads=1, output="prior")
    prior = Segmentation.of(alone, result.volume, (), result.registered, {})
    assert (result.label_map[inside] > 0).mean() > 0.9
    assert result.label_map[inside].tolist() == prior.label_map[inside].tolist()
    without = segmenter.segment(spoiled(scan, mask, 1e5))
    assert (without.label_map != result.label_map).any()


def test_a_contrast_on_another_grid_is_blind_there_too(
    segmenter: Segmenter, scan: nib.Nifti1Image, mask: nib.Nifti1Image
) -> None:
    flipped = [
        nib.Nifti1Image(np.asanyarray(one.dataobj)[::-1], one.affine @ _mirror(one.shape[0]))
        for one in (spoiled(scan, mask, 1e5), spoiled(scan, mask, -7.0))
    ]
    first, again = (segmenter.segment(scan, contrasts=[x], ignore=mask) for x in flipped)
    assert (first.label_map == again.label_map).all()
    assert first.estimate.elbo == pytest.approx(again.estimate.elbo, abs=1e-6)


def test_a_mask_that_does_not_fit_is_refused_in_one_line(
    segmenter: Segmenter, scan: nib.Nifti1Image, mask: nib.Nifti1Image
) -> None:
    block = np.asanyarray(mask.dataobj)
    shifted = scan.affine.copy()
    shifted[0, 3] += 30
    with pytest.raises(ImageError, match=r"need the grid of .* Resample the mask onto the scan"):
        segmenter.segment(scan, ignore=nib.Nifti1Image(block[1:], scan.affine))
    with pytest.raises(ImageError, match="up to 30 mm away"):
        segmenter.segment(scan, ignore=nib.Nifti1Image(block, shifted))
    with pytest.raises(ImageError, match="is it inverted"):
        segmenter.segment(scan, ignore=nib.Nifti1Image(np.ones_like(block), scan.affine))


def test_the_command_line_takes_a_mask_and_makes_anew_when_it_changes(
    scan: nib.Nifti1Image,
    mask: nib.Nifti1Image,
    tiny_prior: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    nib.save(scan, "scan.nii.gz")
    nib.save(mask, "lesion.nii.gz")
    argv = ["segment", "scan.nii.gz", "out", "--ignore", "lesion.nii.gz", "--model"]
    assert main([*argv, str(tiny_prior)]) == 0
    sidecar = json.loads(Path("out/scan_dseg.json").read_text())
    assert sidecar["ignored_voxels"] == 343
    assert "wrote 2 files" in capsys.readouterr().out
    assert main([*argv, str(tiny_prior)]) == 0
    assert "1 of 1 scans are finished" in capsys.readouterr().out
    smaller = np.asanyarray(mask.dataobj).copy()
    smaller[:, :, : smaller.shape[2] // 2] = 0
    nib.save(nib.Nifti1Image(smaller, mask.affine), "lesion.nii.gz")
    assert main([*argv, str(tiny_prior)]) == 0
    assert "wrote 2 files" in capsys.readouterr().out
    nib.save(scan, "other.nii.gz")
    assert main(["segment", "scan.nii.gz", "other.nii.gz", *argv[2:], str(tiny_prior)]) == 2
    assert "need one, whose mask it is" in capsys.readouterr().err


def _mirror(num: int) -> np.ndarray:
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = num - 1
    return flip
