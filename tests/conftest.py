"""What many tests share: a toy anatomy, a folder of phantoms, the smallest checkpoints from them.

Fixtures of a session are read by many tests: write to `tmp_path`, never beside them.
"""

import logging
from pathlib import Path

import pytest
import torch

from seg_prior.models.location import LocationPrior
from tests.models import toy


@pytest.fixture
def location() -> LocationPrior:
    """The toy anatomy's location prior."""
    return toy.location()


@pytest.fixture
def rng() -> torch.Generator:
    """A seeded generator."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def talk(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What commands say: `talk.messages`, one line each."""
    caplog.set_level(logging.INFO, "seg_prior")
    return caplog


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four heads at 5 mm: sub-00N_phantom.nii.gz, sub-00N_phantom_dseg.nii.gz, labels.tsv."""
    from seg_prior.commands import make_phantoms

    folder = tmp_path_factory.mktemp("phantoms")
    make_phantoms.run(make_phantoms.Config(out=folder, num=4, spacing_mm=5.0))
    return folder


@pytest.fixture(scope="session")
def tiny_atlas(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of kind atlas: three of the four heads, prior space at 5 mm."""
    return _train(phantom_folder, tmp_path_factory.mktemp("atlas") / "atlas.safetensors", "atlas")


@pytest.fixture(scope="session")
def tiny_prior(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of kind vae, of the same heads: three steps, so it has learned nothing."""
    return _train(phantom_folder, tmp_path_factory.mktemp("prior") / "prior.safetensors", "vae")


@pytest.fixture(scope="session")
def detailed_prior(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `tiny_prior`, with detail and a flow of it."""
    out = tmp_path_factory.mktemp("detailed") / "prior.safetensors"
    form = {"latent_channels": 4, "detail_channels": 8, "widths": (8, 8, 16), "num_blocks": 1}
    return _train(phantom_folder, out, "vae", vae=form, detail_steps=2)


@pytest.fixture(scope="session")
def tiny_pca(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of kind pca, of all four heads: three components."""
    out = tmp_path_factory.mktemp("pca") / "pca.safetensors"
    return _train(phantom_folder, out, "pca", num_maps=4, num_components=3)


@pytest.fixture(scope="session")
def posed_atlas(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas of all four heads at 6 mm, for scans cut like their maps."""
    out = tmp_path_factory.mktemp("posed") / "atlas.safetensors"
    return _train(phantom_folder, out, "atlas", num_maps=4, pose="as_maps", spacing_mm=6.0)


def _train(phantom_folder: Path, out: Path, kind: str, num_maps: int = 3, **more: object) -> Path:
    from seg_prior.commands import train_prior
    from seg_prior.commands.train_prior import Config as TrainPriorConfig

    label_maps = sorted(phantom_folder.glob("*_dseg.nii.gz"))[:num_maps]
    settings: dict[str, object] = {
        "labels": label_maps,
        "out": out,
        "label_table": phantom_folder / "labels.tsv",
        "kind": kind,
        "spacing_mm": 5.0,
        "vae": {"latent_channels": 4, "widths": (8, 8, 16), "num_blocks": 1},
        "optim": {"steps": 3, "warmup_steps": 1, "precision": "32-true", "num_workers": 0},
        "device": "cpu",
        "threads": 1,
    }
    train_prior.run(TrainPriorConfig.model_validate(settings | more))
    return out
