"""`calibrate`: what painted scans teach, how it is checked, and that it reaches the checkpoint."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import load_file

from seg_prior.api import Segmenter
from seg_prior.checkpoints.header import read_header
from seg_prior.commands import calibrate
from seg_prior.commands.calibrate import Config as CalibrateConfig
from seg_prior.output.scan_report import report_of
from seg_prior.quality import calibrate as quality
from seg_prior.quality.calibrate import Record, check, fit


def records(num: int, seed: int = 0, error_sd: float = 0.2, bias: float = 0.3) -> list[Record]:
    """Of a reader whose volumes are off by a known error, and that is surer than it may be."""
    rng = np.random.default_rng(seed)
    made = []
    for n in range(num):
        soft = {name: float(np.exp(rng.normal(7, 0.1))) for name in ("Core", "Shell", "Left")}
        error = {name: float(np.exp(rng.normal(bias, error_sd))) for name in soft}
        stated = rng.uniform(0.5, 1.0, 500)
        is_right = rng.random(500) < 0.5 + 0.6 * (stated - 0.5)
        made.append(
            Record(
                map=f"map-{n % 6}",
                contrast="straight",
                true_mm3={name: soft[name] * error[name] for name in soft},
                soft_mm3=soft,
                spread=dict.fromkeys(soft, 0.05),
                measures={"mean_entropy": float(np.exp(rng.normal(-2, 0.2))), "misfit": 0.04},
                votes=np.where(is_right, stated, -stated).tolist(),
            )
        )
    return made


def test_errors_and_spreads_are_those_of_the_records() -> None:
    found = fit(records(400))
    for error in found.volume_error.values():
        assert error.bias == pytest.approx(0.3, abs=0.03)
        assert error.sd == pytest.approx((0.2**2 - 0.05**2) ** 0.5, rel=0.1)
    assert found.quantile == pytest.approx(1.65, abs=0.01)
    assert found.measures["mean_entropy"].mean == pytest.approx(-2, abs=0.03)
    assert found.temperature > 1.1
    assert set(found.measures) == {"mean_entropy", "misfit", "volume_deviation"}


def test_few_records_make_wide_intervals() -> None:
    few, many = fit(records(8)), fit(records(400))
    assert few.quantile > 1.9 > many.quantile
    assert few.warn_z > many.warn_z


def test_a_check_on_other_maps_finds_the_coverage_that_was_asked_for() -> None:
    found = check(records(120))
    assert found["num_volumes"] == 360
    assert found["volume_coverage"] == pytest.approx(0.9, abs=0.04)
    assert found["calibration_error"] < 0.06 < found["calibration_error_before"]
    assert check([r.model_copy(update={"map": "one"}) for r in records(12)]) == {}


def test_a_label_that_most_scans_lack_has_no_interval() -> None:
    without = [
        r.model_copy(update={"true_mm3": r.true_mm3 | {"Core": 0.0}}) if n % 3 else r
        for n, r in enumerate(records(30))
    ]
    found = fit(without)
    assert "Core" not in found.volume_error
    assert "Shell" in found.volume_error


@pytest.fixture(scope="module")
def calibrated(
    phantom_folder: Path, tiny_prior: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    model = tmp_path_factory.mktemp("calibrated") / "model.safetensors"
    shutil.copy(tiny_prior, model)
    calibrate.run(request(model, phantom_folder))
    return model


def request(model: Path, folder: Path, num_scans: int = 8) -> CalibrateConfig:
    return CalibrateConfig(
        model=model,
        labels=sorted(folder.glob("*_dseg.nii.gz")),
        num_scans=num_scans,
        spacing_mm=5.0,
        threads=1,
        device="cpu",
    )


def test_the_header_changes_and_the_weights_do_not(calibrated: Path, tiny_prior: Path) -> None:
    before, after = load_file(tiny_prior), load_file(calibrated)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert read_header(calibrated).reference == read_header(tiny_prior).reference
    found = read_header(calibrated).calibration
    assert found is not None
    assert found.num_scans == 8
    assert found.check["num_volumes"] > 20
    assert not list(calibrated.parent.glob("*.jsonl"))


def test_a_calibrated_model_gives_intervals_and_a_verdict(
    calibrated: Path, tiny_prior: Path, phantom_folder: Path
) -> None:
    scan = phantom_folder / "sub-004_phantom.nii.gz"
    with_it = Segmenter.load(calibrated, threads=1).segment(scan)
    without = Segmenter.load(tiny_prior, threads=1).segment(scan)
    structures = [v for v in with_it.volumes if v.low_mm3 is not None]
    assert structures
    for volume in structures:
        assert volume.high_mm3 is not None
        assert 0 < volume.low_mm3 < volume.high_mm3
        bias = with_it.predictor.calibration.volume_error[volume.name].bias
        assert volume.calibrated_mm3 == pytest.approx(volume.soft_mm3 * np.exp(bias))
        middle = np.sqrt(volume.low_mm3 * volume.high_mm3)
        assert volume.calibrated_mm3 == pytest.approx(middle)  # intervals lie around it
    note = report_of(with_it, with_it.qc, {}).interval_note
    assert "fitted to 8 synthetic scans" in note
    assert "74.5 % of 372 volumes in 12 scans" in note
    assert all(v.low_mm3 is None and v.calibrated_mm3 is None for v in without.volumes)
    assert without.qc.verdict in ("not measured", "WARN")
    assert with_it.qc.verdict != "not measured"
    assert np.array_equal(with_it.label_map, without.label_map)  # softening moves no border
    whole = sum(with_it.posterior(name) for name in with_it.predictor.label_table.names)
    # In single precision 1 - confidence of a sure voxel has few digits.
    assert whole == pytest.approx(np.ones_like(whole), abs=5e-3)


def test_a_stopped_run_goes_on(tiny_prior: Path, phantom_folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    shutil.copy(tiny_prior, model)
    config = request(model, phantom_folder)
    calls = []

    def stop_after_three(*given: object) -> Record:
        calls.append(given)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return records(1)[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality, "record_of", stop_after_three)
        with pytest.raises(KeyboardInterrupt):
            calibrate.run(config)
        calls.clear()
        patch.setattr(quality, "record_of", lambda *given: calls.append(given) or records(1)[0])
        calibrate.run(config)
    assert len(calls) == 5


def test_too_few_scans_are_refused(tmp_path: Path, phantom_folder: Path) -> None:
    with pytest.raises(ValidationError, match=r"num_scans\n.*greater than or equal to 8"):
        request(tmp_path / "m.safetensors", phantom_folder, 3)
