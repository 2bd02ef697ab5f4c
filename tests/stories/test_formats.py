"""One scan in every format has one label map, and label maps go out in every written format."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from seg_prior.api import Segmenter
from seg_prior.checkpoints.header import read_header
from seg_prior.cli.app import main
from seg_prior.core.grid import Grid
from seg_prior.io.read import read_label_map, read_volume

Data = NDArray[np.int16]


def _nifti(path: Path, data: Data, affine: NDArray[np.float64]) -> Path:
    nib.save(nib.Nifti1Image(data, affine), path / "scan.nii.gz")
    return path / "scan.nii.gz"


def _pair(path: Path, data: Data, affine: NDArray[np.float64]) -> Path:
    nib.Nifti1Pair(data, affine).to_filename(path / "scan.img")
    return path / "scan.img"


def _analyze(path: Path, data: Data, affine: NDArray[np.float64]) -> Path:
    nib.Spm99AnalyzeImage(data, affine).to_filename(path / "scan.img")
    return path / "scan.img"


def _mgz(path: Path, data: Data, affine: NDArray[np.float64]) -> Path:
    nib.save(nib.MGHImage(data, affine), path / "scan.mgz")
    return path / "scan.mgz"


def _nrrd(path: Path, data: Data, affine: NDArray[np.float64]) -> Path:
    nrrd = pytest.importorskip("nrrd", reason="no pynrrd; pip install pynrrd")
    header = {"space": "RAS", "space directions": affine[:3, :3].T, "space origin": affine[:3, 3]}
    nrrd.write(str(path / "scan.nrrd"), data, header)
    return path / "scan.nrrd"


def _metaimage(path: Path, data: Data, affine: NDArray[np.float64]) -> Path:
    from tests.io.formats.test_metaimage import header

    text = header(affine).replace("5 6 7", " ".join(map(str, data.shape)))
    (path / "scan.mha").write_bytes(text.encode() + data.astype(">i2").tobytes(order="F"))
    return path / "scan.mha"


def _minc(path: Path, data: Data, affine: NDArray[np.float64]) -> Path:
    pytest.importorskip("h5py", reason="no h5py; pip install 'seg-prior[minc]'")
    from tests.io.formats.test_minc import write_minc

    write_minc(path / "scan.mnc", np.ascontiguousarray(data.transpose(2, 1, 0)), affine)
    return path / "scan.mnc"


def _dicom(path: Path, data: Data, affine: NDArray[np.float64]) -> Path:
    pytest.importorskip("highdicom", reason="no highdicom; pip install 'seg-prior[dicom]'")
    from tests.io.formats.dicom_files import write_series

    write_series(path / "scan", data, affine)
    return path / "scan"


Writer = Callable[[Path, Data, NDArray[np.float64]], Path]


@pytest.fixture(scope="session")
def scan(phantom_folder: Path) -> tuple[Data, NDArray[np.float64]]:
    """A phantom of integers, 5 x 6 x 7 mm, flipped and turned about all axes."""
    volume = read_volume(phantom_folder / "sub-004_phantom.nii.gz")
    data = np.rint(1000 * volume.data / volume.data.max()).astype(np.int16)
    affine = volume.grid.affine
    angle = np.radians(12)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned = turn[[1, 2, 0, 3]][:, [1, 2, 0, 3]] @ turn @ affine
    flipped = turned @ np.diag([1.0, -1.0, 1.0, 1.0])
    flipped[:3, 3] = turned[:3] @ [0, data.shape[1] - 1, 0, 1]
    return np.ascontiguousarray(data[:, ::-1]), flipped.astype(np.float32).astype(float)


@pytest.fixture(scope="session")
def segmenter(tiny_atlas: Path) -> Segmenter:
    return Segmenter.load(tiny_atlas, device="cpu", threads=1)


@pytest.fixture(scope="session")
def from_nifti(
    scan: tuple[Data, NDArray[np.float64]],
    segmenter: Segmenter,
    tmp_path_factory: pytest.TempPathFactory,
) -> NDArray[Any]:
    """Its label map, read from NIfTI, in the order of x, y and z."""
    return upright(segmenter, _nifti(tmp_path_factory.mktemp("nifti"), *scan))


def upright(segmenter: Segmenter, path: Path) -> NDArray[Any]:
    result = segmenter.segment(path)
    image = nib.Nifti1Image(result.label_map.astype(np.int16), result.volume.grid.affine)
    return np.asanyarray(nib.as_closest_canonical(image).dataobj)


@pytest.mark.parametrize("write", [_pair, _analyze, _mgz, _nrrd, _metaimage, _minc, _dicom])
def test_a_scan_has_the_label_map_that_it_has_as_nifti(
    write: Writer,
    scan: tuple[Data, NDArray[np.float64]],
    segmenter: Segmenter,
    from_nifti: NDArray[Any],
    tmp_path: Path,
) -> None:
    found = upright(segmenter, write(tmp_path, *scan))
    assert len(np.unique(found)) > 3
    share = float((found == from_nifti).mean())
    if write in (_mgz, _dicom):  # which round the affine otherwise, by 1e-7 of it
        assert share > 0.999
    else:
        assert share == 1


def segmented(tiny_atlas: Path, scan: Path, out: Path) -> int:
    argv = ["segment", str(scan), str(out), "--model", str(tiny_atlas), "--device", "cpu"]
    return main([*argv, "--threads", "1", "--quiet"])


@pytest.mark.parametrize("suffix", [".nii.gz", ".mgz", ".nrrd"])
def test_out_says_the_format(
    suffix: str, scan: tuple[Data, NDArray[np.float64]], tiny_atlas: Path, tmp_path: Path
) -> None:
    path, out = _nrrd(tmp_path, *scan), tmp_path / f"a_dseg{suffix}"
    assert segmented(tiny_atlas, path, out) == 0
    grid = read_label_map(out).grid
    assert grid.same_as(Grid(scan[0].shape, scan[1]), tolerance_voxels=1e-3)
    assert (tmp_path / "a_dseg.json").exists()


def test_a_series_goes_home_as_dicom_seg(
    scan: tuple[Data, NDArray[np.float64]],
    tiny_atlas: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    series, nifti = _dicom(tmp_path, *scan), _nifti(tmp_path, *scan)
    from tests.io.formats.test_dicom import read_segmentation

    assert segmented(tiny_atlas, series, tmp_path / "a_dseg.dcm") == 0
    assert segmented(tiny_atlas, series, tmp_path / "b_dseg.nii.gz") == 0
    volume = read_label_map(tmp_path / "b_dseg.nii.gz")
    back, names = read_segmentation(tmp_path / "a_dseg.dcm", volume)
    assert np.array_equal(back, volume.data)
    labels = read_header(tiny_atlas).label_table.labels
    assert names == {label.id: label.name for label in labels if label.id in np.unique(back)[1:]}

    assert segmented(tiny_atlas, nifti, tmp_path / "c_dseg.dcm") == 2
    assert "which is no DICOM series, need one to refer to" in capsys.readouterr().err
    assert segmented(tiny_atlas, nifti, tmp_path / "c_dseg.mnc") == 2
    assert "found a name that ends in '.mnc', need one of" in capsys.readouterr().err
