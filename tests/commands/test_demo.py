"""The demo judges every method on heads that none has seen, and says who won."""

from pathlib import Path

import numpy as np
import pytest

from seg_prior.cli.settings import resolve
from seg_prior.commands import demo
from seg_prior.commands.demo import ATLAS_EM, FULL, READ, Size, methods
from seg_prior.commands.demo import Config as DemoConfig
from seg_prior.commands.make_phantoms import PhantomFiles
from seg_prior.commands.train_prior import Config as TrainPriorConfig
from seg_prior.evaluation.comparison import MIXTURE
from seg_prior.io.read import read_label_map, read_volume

TINY = Size(3, 1, 1, 6.0, 6.0, 2, 1)
CONFIGS = Path(__file__).parents[2] / "configs"


def test_every_method_is_scored_on_new_heads_and_drawn(
    tmp_path: Path, talk: pytest.LogCaptureFixture
) -> None:
    config = DemoConfig(out=tmp_path / "demo", device="cpu", threads=1)
    result = demo.run(config, TINY)
    lines = talk.messages
    assert list(result.dice) == [MIXTURE, *(method.name for method in methods())]
    values = np.array(list(result.dice.values()))
    assert values.shape == (7, 1)
    assert ((values > 0) & (values < 1)).all()
    assert any(line.startswith(f"  {ATLAS_EM}") and "(1)" in line for line in lines)
    assert all(len(line) <= 100 for line in lines if str(tmp_path) not in line)

    (picture,) = result.pictures
    assert picture.read_bytes().startswith(b"\x89PNG")
    scan = read_volume(config.out / "new" / "sub-001_phantom.nii.gz")
    found = read_label_map(config.out / "sub-001_phantom_dseg.nii.gz")
    known = read_label_map(config.out / "new" / "sub-001_phantom_dseg.nii.gz")
    assert found.grid.same_as(scan.grid)
    np.testing.assert_array_equal(scan.data == 0, known.data == 0)
    for kind in ("atlas", "pca", "prior", "model"):
        assert (config.out / f"{kind}.safetensors").is_file()


def test_no_head_is_in_two_sets(tmp_path: Path) -> None:
    config = DemoConfig(out=tmp_path, seed=5)
    folders = demo.make_heads(config, Size(1, 1, 1, 8.0, 8.0, 0, 0))
    maps = [read_label_map(files.label_maps[0]) for files in folders]
    volumes = {np.bincount(volume.data.ravel()).tobytes() for volume in maps}
    assert len(volumes) == 2


def test_the_config_in_the_checkout_is_the_demo_s(tmp_path: Path) -> None:
    files = PhantomFiles((), (tmp_path / "a.nii.gz",), tmp_path / "labels.tsv")
    asked = TrainPriorConfig.model_validate(
        demo.prior_settings(DemoConfig(out=tmp_path), FULL, files, "vae")
    )
    flags = {"labels": asked.labels, "label_table": asked.label_table, "out": asked.out}
    assert resolve(TrainPriorConfig, CONFIGS / "phantom.yaml", flags) == asked


@pytest.mark.slow
def test_the_demo_beats_a_mixture_that_knows_no_anatomy(tmp_path: Path) -> None:
    config = DemoConfig(out=tmp_path / "demo", device="cpu", threads=1)
    dice = demo.run(config).dice
    for ours, mixture in zip(dice[READ], dice[MIXTURE], strict=True):
        assert ours > mixture + 0.2
    assert np.mean(dice[READ]) > np.mean(dice["atlas argmax"])
