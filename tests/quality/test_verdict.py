"""Verdicts: what fires, what does not, and what a model without a calibration says."""

import math

import numpy as np
import pytest

from seg_prior.checkpoints.calibration import Calibration, Spread
from seg_prior.quality.measures import MEASURES, QcInput, repeated_values
from seg_prior.quality.verdict import Quality, judge, rules

SPREADS = {
    "misfit": Spread(mean=math.log(0.04), sd=0.2),
    "mutual_information": Spread(mean=math.log(0.9), sd=0.2),
    "size": Spread(mean=0.0, sd=0.1),
    "volume_deviation": Spread(mean=0.0, sd=0.3),
}
CALIBRATION = Calibration(
    num_scans=32,
    quantile=1.7,
    warn_z=2.8,
    fail_z=5.0,
    temperature=1.5,
    volume_error={},
    log_volume={"Core": Spread(mean=7.0, sd=0.1), "Shell": Spread(mean=8.0, sd=0.1)},
    measures=SPREADS,
    check={},
)
GOOD = {"misfit": 0.04, "mutual_information": 0.9, "size": 1.0}
VOLUMES = {"Core": 7.1, "Shell": 8.0}


def quality(
    measures: dict[str, float],
    volumes: dict[str, float] = VOLUMES,
    repeated: float = 0.0,
    doubts: tuple[str, ...] = (),
) -> Quality:
    return judge(QcInput(measures, volumes, repeated, doubts), CALIBRATION)


def test_what_lies_among_the_painted_scans_passes() -> None:
    found = quality(GOOD)
    assert found.verdict == "PASS"
    assert found.findings == ()
    assert found.volume_z["Core"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "z", "verdict"),
    [
        ("misfit", 3.0, "WARN"),
        ("misfit", 5.5, "FAIL"),
        ("misfit", -9.0, "PASS"),  # a better fit than painted scans have is no fault
        ("mutual_information", -3.0, "WARN"),
        ("mutual_information", 9.0, "PASS"),
        ("size", 3.0, "WARN"),
        ("size", -5.5, "FAIL"),
    ],
)
def test_a_measure_fires_on_its_bad_side(name: str, z: float, verdict: str) -> None:
    value = math.exp(SPREADS[name].mean + z * SPREADS[name].sd)
    found = quality(GOOD | {name: value})
    assert found.verdict == verdict
    assert [finding.rule for finding in found.findings] == ([name] if verdict != "PASS" else [])


def test_a_finding_names_the_rule_what_was_found_and_what_was_expected() -> None:
    (finding,) = quality(GOOD | {"misfit": 0.3}).findings
    assert finding.verdict == "FAIL"
    assert finding.text.startswith("misfit 0.3, usual 0.023 to 0.07 (1 - Dice")


def test_one_line_has_the_worst_and_the_number_of_the_others() -> None:
    assert rules([]) == ""
    assert rules(["a", "b"]) == "a; b"
    assert rules(["a", "b", "c", "d"]) == "a; b; and 2 more"


def test_volumes_far_from_any_painted_scan_fail() -> None:
    found = quality(GOOD, {"Core": 5.0, "Shell": 6.0})
    assert found.verdict == "FAIL"
    assert found.measures["volume_deviation"] == pytest.approx(20.0)


def test_the_worst_finding_comes_first_and_decides() -> None:
    found = quality(GOOD | {"mutual_information": 0.01}, doubts=("the header is odd",))
    assert [finding.verdict for finding in found.findings] == ["FAIL", "WARN"]
    assert found.verdict == "FAIL"


def test_a_measure_below_zero_is_as_bad_as_zero() -> None:
    spreads = SPREADS | {"elbo_gain": Spread(mean=0.0, sd=0.2)}
    calibration = CALIBRATION.model_copy(update={"measures": spreads})
    found = judge(QcInput(GOOD | {"elbo_gain": -0.5}, VOLUMES, 0.0, ()), calibration)
    assert found.verdict == "FAIL"


def test_without_a_calibration_nothing_passes() -> None:
    assert judge(QcInput(GOOD, VOLUMES, 0.0, ()), None).verdict == "not measured"
    assert judge(QcInput(GOOD, VOLUMES, 0.0, ("the header is odd",)), None).verdict == "WARN"
    assert judge(QcInput(GOOD, VOLUMES, 0.9, ()), None).verdict == "FAIL"


def test_a_label_map_is_told_from_an_image() -> None:
    labels = np.repeat(np.repeat(np.arange(8).reshape(2, 2, 2), 5, 0), 5, 1)
    labels = np.repeat(labels, 5, 2)
    everywhere = np.ones(labels.shape, dtype=bool)
    assert repeated_values(labels, everywhere) == pytest.approx(8 / 9)
    noise = np.random.default_rng(0).normal(size=(8, 8, 8))
    assert repeated_values(noise, np.ones(noise.shape, dtype=bool)) == 0.0
    half = everywhere.copy()
    half[:5] = False
    inside = repeated_values(
        np.where(half, noise.mean(), np.arange(1000).reshape(10, 10, 10)), half
    )
    assert inside == 1.0


def test_every_measure_says_what_it_is() -> None:
    assert all(measure.text for measure in MEASURES.values())


def test_one_tissue_of_two_brightnesses_is_doubtful_with_and_without_a_calibration() -> None:
    for calibration in (CALIBRATION, None):
        even, odd = (judge(QcInput(GOOD, VOLUMES, 0.0, (), b), calibration) for b in (1.4, 1.5))
        assert even.findings == ()
        assert even.measures["bias_field"] == 1.4
        assert odd.verdict == "WARN"
        assert "1.50 times as bright" in odd.findings[0].text
    assert "bias_field" not in judge(QcInput(GOOD, VOLUMES, 0.0, ()), CALIBRATION).measures
