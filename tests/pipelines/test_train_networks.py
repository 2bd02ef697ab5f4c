"""Image reader and finder, taught for a few steps on phantoms."""

from pathlib import Path

import numpy as np
import pytest
import torch

import train_finder
import train_reader
from experiments import reader, readings, schooling
from seg_prior.api import Segmenter
from seg_prior.checkpoints.file import load_model
from seg_prior.config.networks import ReaderConfig
from seg_prior.errors import ConfigError
from seg_prior.models.image_reader import ImageReader
from seg_prior.models.likelihood import intensity_classes
from seg_prior.models.location import LocationPrior
from seg_prior.models.reader_input import ReaderSpace, fold
from tests.models import toy

SMALL_SCANS = "synthesis: {is_background_air: false}\n"


@pytest.fixture
def asked(phantom_folder: Path, tiny_prior: Path, tmp_path: Path) -> list[str]:
    """What both pipelines are asked, but for OUT and steps."""
    config = tmp_path / "scans.yaml"
    config.write_text(SMALL_SCANS)
    return ["--prior", str(tiny_prior), "--config", str(config), "--holdout", "sub-004"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state = torch.load(folder / schooling.LAST, weights_only=True)
    return dict(state["mean"])


def test_a_stop_ends_in_the_weights_of_no_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = schooling.Schooling(steps=6, warmup_steps=1, save_every=2, log_every=2)

    def losses_of(step: int, share_done: float) -> schooling.Losses:
        if step == stop_at:
            raise KeyboardInterrupt
        seen = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        wrong = torch.tensor(float("nan")) if step == 3 else torch.tensor(1.0)
        return {"loss": wrong * (network(seen) - seen.sum(1, keepdim=True)).square().mean()}

    found = []
    for name, stops in (("whole", [-1]), ("stopped", [4, -1])):
        for stop_at in stops:
            torch.manual_seed(0)
            network = torch.nn.Linear(3, 1)
            first = network.weight.detach().clone()
            try:
                assert schooling.school(network, losses_of, plan, tmp_path / name, "r") == 6
            except KeyboardInterrupt:
                assert stop_at == 4
        found.append(network.weight)
    assert torch.equal(*found)
    assert torch.isfinite(found[0]).all()
    assert not torch.equal(found[0], first)
    rows = (tmp_path / "stopped" / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "2", "4", "6"]
    with pytest.raises(ConfigError, match="another training"):
        schooling.school(network, losses_of, plan, tmp_path / "whole", "other")
    (tmp_path / "whole" / schooling.LAST).write_bytes(b"no state")
    with pytest.raises(ConfigError, match="damaged"):
        schooling.school(network, losses_of, plan, tmp_path / "whole", "r")


def test_subjects_are_kept_out_by_name() -> None:
    paths = [Path(f"sub-0{n}_dseg.nii.gz") for n in (1, 2)]
    assert schooling.without(paths, ["sub-02"]) == paths[:1]
    with pytest.raises(ConfigError, match="sub-03"):
        schooling.without(paths, ["sub-03"])
    with pytest.raises(ConfigError, match="every label map"):
        schooling.without(paths, ["sub-01", "sub-02"])


def test_parts_and_what_lies_between_voxels_are_in_the_order_of_fold() -> None:
    shape = (3, 4, 5)
    voxels = torch.tensor([0, 7, 31, 59])
    fine = torch.arange(8 * 60).view(1, 6, 8, 10)
    expected = fold(fine).flatten(1)[:, voxels].T
    assert torch.equal(fine.flatten()[reader.parts_at(voxels, shape)], expected)
    slope = torch.arange(60.0).view(1, *shape)
    between = torch.nn.functional.interpolate(slope[None], scale_factor=2, mode="trilinear")[0]
    found = reader.interpolated(slope, voxels)[:, 0]
    torch.testing.assert_close(found, fold(between).flatten(1)[:, voxels].T)


def test_log_probabilities_fit_into_bytes(location: LocationPrior) -> None:
    log_prior = location.log_prob.clamp_min(-12)
    again = readings.unpacked(readings.packed(log_prior))
    torch.testing.assert_close(again, log_prior, atol=12 / 255, rtol=0)


def test_what_is_taken_off_a_label_is_taken_off_all_its_parts(location: LocationPrior) -> None:
    space = ReaderSpace.of(location, toy.CLASSES)
    network = ImageReader(space.num_inputs, toy.NUM_LABELS, ReaderConfig(widths=(8, 8, 8, 8)))
    reader.take_off(network, toy.table(), (20, 99), 1.5)
    bias = network.head.bias.detach().view(toy.NUM_LABELS, 8)
    assert (bias[toy.CORE] == -1.5).all()
    assert bias.sum() == -12
    with pytest.raises(ConfigError, match="fluid-bias"):
        reader.take_off(network, toy.table(), (99,), 1.0)


def test_a_reader_is_taught_and_goes_on(
    phantom_folder: Path, asked: list[str], tiny_prior: Path, tmp_path: Path
) -> None:
    request = [
        str(phantom_folder / "*_dseg.nii.gz"),
        "",
        *asked,
        "--scans",
        "2",
        "--widths",
        "8",
        "8",
        "8",
        "8",
    ]
    whole, again = tmp_path / "whole", tmp_path / "again"
    request[1] = str(whole)
    assert train_reader.main([*request, "--steps", "3"]) == 0
    made = {path: path.stat().st_mtime_ns for path in (whole / "readings").iterdir()}
    assert train_reader.main([*request, "--steps", "3"]) == 0
    assert made == {path: path.stat().st_mtime_ns for path in (whole / "readings").iterdir()}
    request[1] = str(again)
    assert train_reader.main([*request, "--steps", "3"]) == 0
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(again)[name])
    model = load_model(whole / "reader.safetensors")
    assert model.image_reader is not None
    assert model.header.reader == ReaderConfig(widths=(8, 8, 8, 8))
    assert model.image_reader.head.weight.any()
    segmenter = Segmenter.load(whole / "reader.safetensors", device="cpu", threads=1)
    scan = sorted(phantom_folder.glob("*_phantom.nii.gz"))[0]
    assert segmenter.segment(scan).label_map.any()
    # Other settings do not go on from this state.
    assert train_reader.main([*request, "--steps", "3", "--seed", "1"]) == 2


def test_readings_are_what_was_drawn_and_patches_of_them_have_a_finite_loss(
    phantom_folder: Path, tiny_prior: Path, tmp_path: Path
) -> None:
    from seg_prior.config.synthesis import AugmentConfig, SynthesisConfig

    maps = sorted(phantom_folder.glob("*_dseg.nii.gz"))[:2]
    spread = readings.Spread(AugmentConfig(), SynthesisConfig())
    paths = readings.make_readings(maps, tiny_prior, spread, tmp_path / "r", 2)
    reading = readings.load_reading(paths[1])
    model = load_model(tiny_prior)
    assert reading.image.shape == model.header.grid.halved().shape
    assert not reading.image[~reading.in_view].any()
    assert set(np.unique(reading.labels)) <= set(range(len(model.header.label_table.written)))
    classes = intensity_classes(model.header.label_table, model.header.intensity)
    table = model.header.label_table.written
    sampling = reader.Sampling(side=24, num_voxels=500)
    patches = reader.Patches(paths, model.location, classes, table, sampling)
    space = patches.space
    network = ImageReader(space.num_inputs, len(table), ReaderConfig(widths=(8, 8, 8, 8)))
    for number in range(3):
        losses = reader.patch_losses(network, space, patches.patch(number, 0.9))
        assert torch.isfinite(losses["loss"])
        # It starts at nothing added.
        torch.testing.assert_close(losses["cross_entropy"], losses["cross_entropy_before"])
    # The whole volume mirrored is a patch of the mirrored one.
    patch = patches.patch(0, 0.0)
    twice = patches._mirrored(patches._mirrored(patch))
    assert torch.equal(twice.chosen, patch.chosen)
    assert torch.equal(twice.labels, patch.labels)
    assert twice.box == patch.box
    with pytest.raises(ConfigError, match="other maps"):
        readings.make_readings(maps[:1], tiny_prior, spread, tmp_path / "r", 2)


def test_of_aged_anatomies_a_share_is_kept_in_the_second_half(
    location: LocationPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = torch.zeros(())
    pair = [readings.Reading(*[nothing] * 9, torch.tensor(aged)) for aged in (False, True)]
    monkeypatch.setattr(reader, "load_reading", lambda path: pair[int(path.name)])
    paths = [Path("0"), Path("1")]
    patches = reader.Patches(paths, location, toy.CLASSES, toy.table(), reader.Sampling())

    def share(done: float) -> float:
        generator = torch.Generator().manual_seed(0)
        return float(np.mean([bool(patches._reading(done, generator).is_aged) for _ in range(500)]))

    assert abs(share(0.0) - 0.5) < 0.07
    assert abs(share(0.5) - 0.36 / 1.36) < 0.07


def test_a_finder_is_taught_and_goes_on(
    phantom_folder: Path, asked: list[str], tiny_prior: Path, tmp_path: Path
) -> None:
    def run(folder: str, steps: int) -> Path:
        out = tmp_path / folder
        request = [
            str(phantom_folder / "*_dseg.nii.gz"),
            str(out),
            *asked,
            "--widths",
            "8",
            "8",
            "8",
        ]
        assert train_finder.main([*request, "--steps", str(steps)]) == 0
        return out

    whole = run("whole", 2)
    for name, value in weights(run("again", 2)).items():
        assert torch.equal(value, weights(whole)[name])
    before = weights(whole)
    assert any(not torch.equal(v, before[k]) for k, v in weights(run("whole", 3)).items())
    model = load_model(whole / "finder.safetensors")
    assert model.locator is not None
    assert model.header.locator is not None
    assert model.header.locator.spacing_mm == 4.0
    assert model.header.pose_prior is None
    scan = sorted(phantom_folder.glob("*_phantom.nii.gz"))[0]
    segmenter = Segmenter.load(whole / "finder.safetensors", device="cpu", threads=1)
    assert segmenter.atlas.find is not None
    assert segmenter.segment(scan).label_map.any()
