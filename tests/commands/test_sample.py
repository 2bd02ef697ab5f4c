"""Draws from a prior: on its grid, with its ids, the same for a seed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from seg_prior.checkpoints.file import load_model, save_model
from seg_prior.checkpoints.header import read_header
from seg_prior.commands.sample import Config as SampleConfig
from seg_prior.commands.sample import decode_label_map, draws, run
from seg_prior.errors import CheckpointError
from seg_prior.io.read import read_label_map
from seg_prior.models.label_vae import LabelVAE
from seg_prior.models.neighbours import Neighbours, touching


def config_of(
    model: Path, out: Path, num: int = 2, seed: int = 0, coarse: bool = False
) -> SampleConfig:
    settings = {"model": model, "out": out, "num": num, "seed": seed, "coarse": coarse}
    return SampleConfig.model_validate(settings | {"device": "cpu", "threads": 1})


def test_samples_lie_on_the_prior_grid_with_ids_of_its_table(
    tiny_pca: Path, tmp_path: Path
) -> None:
    files = run(config_of(tiny_pca, tmp_path / "out"))
    header = read_header(tiny_pca)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "sample-001_dseg.nii.gz",
        "sample-002_dseg.nii.gz",
        "samples.png",
    ]
    maps = [read_label_map(path) for path in files.label_maps]
    for label_map in maps:
        assert label_map.grid.same_as(header.grid)
        assert set(np.unique(label_map.data)) == set(header.label_table.ids)
    assert (maps[0].data != maps[1].data).any()
    assert files.picture.read_bytes().startswith(b"\x89PNG")


def test_the_mean_anatomy_is_what_z_of_zero_decodes_to(tiny_atlas: Path) -> None:
    """With no latent: the most frequent label, background outside the anatomy mask."""
    model = load_model(tiny_atlas)
    indices = decode_label_map(model, torch.zeros(1, 0))
    location = model.location
    inside = np.zeros(indices.size, dtype=bool)
    inside[location.voxels.numpy()] = True
    assert (indices.ravel()[~inside] == 0).all()
    best = location.log_prob.argmax(0).numpy()
    np.testing.assert_array_equal(indices.ravel()[location.voxels.numpy()], best)


def test_the_first_draws_do_not_depend_on_how_many(tiny_pca: Path, tmp_path: Path) -> None:
    prior = load_model(tiny_pca).prior
    few, many = (list(draws(prior, config_of(tiny_pca, tmp_path, num))) for num in (2, 9))
    torch.testing.assert_close(torch.cat(few), torch.cat(many)[:2], rtol=0, atol=0)
    other = next(draws(prior, config_of(tiny_pca, tmp_path, seed=1)))
    assert (other != few[0]).all()


def test_a_seed_repeats_itself(tiny_prior: Path, tmp_path: Path) -> None:
    first = run(config_of(tiny_prior, tmp_path / "a", num=1, seed=3))
    again = run(config_of(tiny_prior, tmp_path / "b", num=1, seed=3))
    maps = [read_label_map(files.label_maps[0]).data for files in (first, again)]
    np.testing.assert_array_equal(*maps)


def test_labels_that_seldom_touch_move_apart(tiny_pca: Path, tmp_path: Path) -> None:
    model, path = load_model(tiny_pca), tmp_path / "model.safetensors"
    num_labels = len(model.location.groups)

    def faces(path: Path, out: str) -> torch.Tensor:
        files = run(config_of(path, tmp_path / out, num=1))
        found = model.header.label_table.written.remap(
            read_label_map(files.label_maps[0]).data, files.label_maps[0]
        )
        return touching(torch.from_numpy(found), num_labels)

    model.prior.neighbours = Neighbours(torch.zeros(num_labels, num_labels))
    save_model(path, model.header, model.prior)
    before = faces(path, "a")
    first, second = divmod(int(before[1:, 1:].argmax()), num_labels - 1)
    pair = (first + 1, second + 1)
    for index in (pair, pair[::-1]):
        model.prior.neighbours.repulsion[index] = -8.0
    save_model(path, model.header, model.prior)
    assert before[pair] > 20
    assert faces(path, "b")[pair] < 0.7 * before[pair]


def test_a_prior_without_a_latent_is_refused(tiny_atlas: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="found a checkpoint of kind 'atlas', need"):
        run(config_of(tiny_atlas, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_coarse_is_the_same_anatomy_without_detail(
    detailed_prior: Path, tmp_path: Path, talk: pytest.LogCaptureFixture
) -> None:
    model = load_model(detailed_prior)
    smooth, full = (
        next(draws(model.prior, config_of(detailed_prior, tmp_path, coarse=is_coarse)))
        for is_coarse in (True, False)
    )
    num_coarse = model.prior.num_coarse
    assert torch.equal(smooth[:, :num_coarse], full[:, :num_coarse])
    assert not smooth[:, num_coarse:].any()
    assert full[:, num_coarse:].any()
    run(config_of(detailed_prior, tmp_path / "out", num=1, coarse=True))
    assert not [line for line in talk.messages if "drawn alone" in line]


def test_a_model_of_before_draws_as_it_did_and_says_so(
    detailed_prior: Path, tmp_path: Path, talk: pytest.LogCaptureFixture
) -> None:
    before = load_model(detailed_prior)
    assert isinstance(before.prior, LabelVAE)
    before.prior.coarse_field = before.prior.detail_flow = None
    old = tmp_path / "old.safetensors"
    save_model(old, before.header, before.prior)
    run(config_of(old, tmp_path / "out", num=1))
    (line,) = [line for line in talk.messages if "drawn alone" in line]
    assert line.startswith(f"{old}: the detail of each cell is drawn alone")
    z = next(draws(load_model(old).prior, config_of(old, tmp_path)))
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(z, noise)


def test_the_first_draws_with_detail_do_not_depend_on_how_many(
    detailed_prior: Path, tmp_path: Path, talk: pytest.LogCaptureFixture
) -> None:
    prior = load_model(detailed_prior).prior
    few, many = (list(draws(prior, config_of(detailed_prior, tmp_path, num))) for num in (1, 3))
    assert torch.equal(few[0], many[0])
    assert not torch.equal(many[0], many[1])
    run(config_of(detailed_prior, tmp_path / "out", num=1))
    assert not [line for line in talk.messages if "drawn alone" in line]
