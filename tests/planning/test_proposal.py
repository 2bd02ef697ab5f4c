from pathlib import Path

import numpy as np
import pytest

from seg_prior.api import Segmenter
from seg_prior.config.intensity import IntensityConfig
from seg_prior.core.volume import Volume
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.io.write import write_volume
from seg_prior.models.likelihood import intensity_classes
from seg_prior.planning.fingerprint import Fingerprint, read_fingerprint
from seg_prior.planning.proposal import propose_intensity, propose_prior


def fingerprint(phantom_folder: Path, images: list[Path]) -> Fingerprint:
    maps = sorted(phantom_folder.glob("*_dseg.nii.gz"))
    return read_fingerprint(images, maps, phantom_folder / "labels.tsv")


def test_lengths_scale_with_the_anatomy(phantom_folder: Path, tmp_path: Path) -> None:
    large = propose_prior(fingerprint(phantom_folder, []))
    for path in phantom_folder.glob("*_dseg.nii.gz"):
        volume = read_label_map(path)
        grid = type(volume.grid)(
            volume.grid.shape, volume.grid.affine @ np.diag([0.1, 0.1, 0.1, 1])
        )
        write_volume(tmp_path / path.name, volume.data, Volume(volume.data, grid))
    maps = sorted(tmp_path.glob("*_dseg.nii.gz"))
    small = propose_prior(read_fingerprint([], maps, phantom_folder / "labels.tsv"))
    for key in ("spacing_mm", "margin_mm"):
        assert float(str(small[key])) == pytest.approx(float(str(large[key])) / 10, rel=0.1)
    assert small["vae"] == large["vae"]


def test_the_pose_is_learned_where_images_are_cut_like_the_maps(
    phantom_folder: Path, tmp_path: Path
) -> None:
    images = sorted(phantom_folder.glob("*_phantom.nii.gz"))
    is_stripped = fingerprint(phantom_folder, images).images[0].is_stripped
    assert propose_prior(fingerprint(phantom_folder, images))["pose"] == (
        "any" if is_stripped else "as_maps"
    )
    filled = []
    for path in images:
        volume = read_volume(path)
        rng = np.random.default_rng(0)
        values = volume.data + rng.uniform(1, 50, volume.grid.shape)
        filled.append(tmp_path / path.name)
        write_volume(filled[-1], values, volume)
    assert propose_prior(fingerprint(phantom_folder, filled))["pose"] == "as_maps"


def test_gaussians_of_a_mixed_background_are_counted(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path, talk: pytest.LogCaptureFixture
) -> None:
    segmenter = Segmenter.load(tiny_atlas, device="cpu")
    path = sorted(phantom_folder.glob("*_phantom.nii.gz"))[3]
    found = propose_intensity(segmenter, [path])
    background = segmenter.classes.names[0]
    counts = found["components"]
    assert isinstance(counts, dict)
    assert 1 <= counts[background] <= 6
    assert talk.messages[0].startswith("held-out nats/voxel")
    typical = found["typical"]
    assert isinstance(typical, dict)
    assert set(typical) == {
        label.intensity_class for label in segmenter.model.header.label_table.labels
    }
    assert typical[background] == 0.0
    assert all(0.2 <= value <= 1 for name, value in typical.items() if name != background)
    # What is proposed is a config that the model takes.
    intensity_classes(segmenter.model.header.label_table, IntensityConfig.model_validate(found))
