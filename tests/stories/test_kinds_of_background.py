"""A prior that tells kinds of background apart: they are modelled, and in no result."""

from pathlib import Path

import numpy as np
import pytest

from seg_prior.api import Segmenter
from seg_prior.checkpoints.file import load_model
from seg_prior.checkpoints.header import read_header
from seg_prior.commands import (
    reconstruct,
    sample,
    train_locator,
    train_prior,
)
from seg_prior.commands.reconstruct import Config as ReconstructConfig
from seg_prior.commands.sample import Config as SampleConfig
from seg_prior.commands.train_locator import Config as TrainLocatorConfig
from seg_prior.commands.train_prior import Config as TrainPriorConfig
from seg_prior.config.optim import OptimConfig
from seg_prior.io.read import read_label_map
from seg_prior.synthesis.phantom import SHELL

FEW = OptimConfig(steps=2, batch_size=2, warmup_steps=1, precision="32-true", num_workers=0)


@pytest.fixture(scope="module")
def model(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kind pca, for scans cut like the maps; the shell around the heads is a kind of background."""
    folder = tmp_path_factory.mktemp("kinds")
    table = (phantom_folder / "labels.tsv").read_text("utf-8")
    shell = next(line for line in table.splitlines() if line.startswith(f"{SHELL}\t"))
    (folder / "labels.tsv").write_text(
        table.replace(shell, shell.replace("fluid", "background-shell")), "utf-8"
    )
    config = TrainPriorConfig(
        labels=sorted(phantom_folder.glob("*_dseg.nii.gz")),
        out=folder / "prior.safetensors",
        label_table=folder / "labels.tsv",
        kind="pca",
        num_components=3,
        spacing_mm=5.0,
        pose="as_maps",
        device="cpu",
        threads=1,
    )
    train_prior.run(config)
    return config.out


def test_the_prior_knows_the_kind_and_results_have_background(
    phantom_folder: Path, model: Path
) -> None:
    held = load_model(model)
    table = held.header.label_table
    assert table.is_outside[table.ids.tolist().index(SHELL)]
    assert held.location.num_labels == 10
    result = Segmenter.load(model, threads=1).segment(phantom_folder / "sub-001_phantom.nii.gz")
    found = set(np.unique(result.label_map).tolist())
    assert found == set(table.written.ids.tolist()) == set(table.ids.tolist()) - {SHELL}
    assert len(list(result.posteriors())) == len(result.volumes) == 8
    total = result.posterior(0) + sum(result.posteriors())
    np.testing.assert_allclose(total, 1, atol=1e-4)
    assert result.log_volume_spread(2).shape == (9,)


def test_samples_and_reconstructions_have_background(
    phantom_folder: Path, model: Path, tmp_path: Path
) -> None:
    drawn = sample.run(SampleConfig(model=model, out=tmp_path / "drawn", num=1, threads=1))
    labels = [phantom_folder / "sub-001_phantom_dseg.nii.gz"]
    again = ReconstructConfig(model=model, labels=labels, out=tmp_path / "again", threads=1)
    result = reconstruct.run(again)
    assert len(result.scores) == 8
    assert np.mean([score.dice for score in result.scores]) > 0.7
    for path in (*drawn.label_maps, *(tmp_path / "again").glob("*_dseg.nii.gz")):
        ids = set(np.unique(read_label_map(path).data).tolist())
        assert SHELL not in ids
        assert len(ids) == 9


def test_a_locator_sees_what_results_have(
    phantom_folder: Path, model: Path, tmp_path: Path
) -> None:
    images = sorted(phantom_folder.glob("*_phantom.nii.gz"))[:2]
    out = tmp_path / "located.safetensors"
    train_locator.run(
        TrainLocatorConfig(images=images, prior=model, out=out, optim=FEW, threads=1),
    )
    located = load_model(out).locator
    assert located is not None
    assert located.num_labels == len(read_header(out).label_table.written)
    assert (Segmenter.load(out, threads=1).segment(images[0]).label_map > 0).any()
