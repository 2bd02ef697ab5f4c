"""`train-encoder`: an image reader beside the prior, and a stop that changes nothing."""

from pathlib import Path

import pytest
import torch

from seg_prior.api import Segmenter
from seg_prior.checkpoints.file import load_model
from seg_prior.commands import train_encoder
from seg_prior.commands.train_encoder import Config
from seg_prior.config.networks import OffsetConfig, ReaderConfig
from seg_prior.errors import ConfigError, LabelsError
from seg_prior.inference.refine import SHARPNESS, fit_intensities
from seg_prior.training import loop

FORM = {"widths": (8, 8, 8, 8), "num_blocks": (1, 1, 1, 1)}
OPTIM = {"steps": 4, "warmup_steps": 1, "precision": "32-true", "num_workers": 0, "save_every": 2}


def asked(phantom_folder: Path, prior: Path, out: Path, **changes: object) -> Config:
    request = {
        "labels": [phantom_folder / "*_dseg.nii.gz"],
        "prior": prior,
        "out": out,
        "holdout": ["sub-004"],
        "scans": 2,
        "network": FORM,
        "patches": {"side": 24, "num_voxels": 500},
        "optim": OPTIM,
        "device": "cpu",
        "threads": 1,
    }
    return Config.model_validate(request | changes)


def test_a_reader_is_taught_and_reads(
    phantom_folder: Path, tiny_prior: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model.safetensors"
    config = asked(phantom_folder, tiny_prior, out)
    train_encoder.run(config)
    model = load_model(out)
    assert model.image_reader is not None
    assert model.header.reader == ReaderConfig.model_validate(FORM)
    assert model.header.calibration is None
    assert model.image_reader.head.weight.any()
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["log.csv", "log.png"]
    segmenter = Segmenter.load(out, device="cpu", threads=1)
    found = segmenter.segment(sorted(phantom_folder.glob("*_phantom.nii.gz"))[0])
    assert found.label_map.any()
    estimate = found.estimate
    again = fit_intensities(estimate.log_prior.float(), found.seen, SHARPNESS)
    torch.testing.assert_close(estimate.intensities.mean, again.mean, atol=1e-3, rtol=1e-3)
    before = out.stat().st_mtime_ns
    train_encoder.run(config)  # the same request is finished
    assert out.stat().st_mtime_ns == before
    gone_on = tmp_path / "further.safetensors"
    further = {"start": out, "offset": {"nats": {10: -1.5}}}
    train_encoder.run(asked(phantom_folder, tiny_prior, gone_on, **further))
    taught = load_model(gone_on)
    assert taught.image_reader is not None
    assert not torch.equal(taught.image_reader.head.weight, model.image_reader.head.weight)
    assert taught.header.offset == OffsetConfig(nats={10: -1.5})
    # It is added when a scan is read, so that no weights are taught on with it in them.
    change = taught.image_reader.head.bias - model.image_reader.head.bias
    assert change.abs().max() < 0.1


def test_a_stop_ends_in_the_weights_of_no_stop(
    phantom_folder: Path, tiny_prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = (tmp_path / f"{name}.safetensors" for name in ("whole", "stopped"))
    train_encoder.run(asked(phantom_folder, tiny_prior, whole))
    save = loop._save

    def save_and_stop(*state: object) -> None:
        save(*state)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_save", save_and_stop)
    config = asked(phantom_folder, tiny_prior, stopped)
    with pytest.raises(KeyboardInterrupt):
        train_encoder.run(config)
    monkeypatch.setattr(loop, "_save", save)
    for change, wanted in (({"holdout": []}, "other maps"), ({"start": whole}, "another training")):
        with pytest.raises(ConfigError, match=wanted):
            train_encoder.run(config.model_copy(update=change))
    train_encoder.run(config)
    one, two = (load_model(path).image_reader for path in (whole, stopped))
    assert one is not None
    assert two is not None
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name])


@pytest.mark.parametrize(
    ("setting", "changes"),
    [
        ("kept_share", {"kept_share": {999: 1.0}}),
        ("offset.nats", {"offset": {"nats": {999: 1.0}}}),
        ("offset.gauge_ids", {"offset": {"gauge_ids": [999]}}),
    ],
)
def test_a_setting_of_no_label_is_refused_before_the_work(
    setting: str,
    changes: dict[str, object],
    phantom_folder: Path,
    tiny_prior: Path,
    tmp_path: Path,
) -> None:
    config = asked(phantom_folder, tiny_prior, tmp_path / "a.safetensors", **changes)
    with pytest.raises(LabelsError, match=f"{setting}: found id 999"):
        train_encoder.run(config)
    assert not list(tmp_path.iterdir())
