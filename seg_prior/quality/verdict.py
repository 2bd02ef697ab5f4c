"""Quality control: what a reading measured, against what synthetic scans measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from seg_prior.checkpoints.calibration import Calibration
from seg_prior.core.figures import told_apart
from seg_prior.inference.prediction import Prediction
from seg_prior.quality.measures import MEASURES, QcInput, gather, log_of, volume_deviation

Verdict = Literal["FAIL", "WARN", "PASS", "not measured"]
VERDICTS: tuple[Verdict, ...] = ("FAIL", "WARN", "PASS", "not measured")
_MAX_REPEATED = 0.5
"""Of neighbouring voxels in view may hold one value; in a label map nine of ten do."""
MAX_BIAS = 1.45
"""Brightest by darkest place of the field that shows within tissues: 1.04 to 1.22 on 17 brains,
1.29 and 1.37 on two that were prepared otherwise; fields of 1.8 and 2.5 times show as 1.52 and
1.74, and cost 0.05 and 0.09 of Dice."""
_NUM_SHOWN = 2


class Finding(NamedTuple):
    """One rule that fired.

    Attributes:
        verdict: WARN or FAIL.
        rule: Name of the measure, or of the rule.
        text: What was found and what was expected, one line.
    """

    verdict: Verdict
    rule: str
    text: str


@dataclass(frozen=True)
class Quality:
    """What quality control says of one scan.

    Attributes:
        verdict: The worst finding; `not measured` where nothing fired and the model carries no
            calibration.
        findings: Worst first.
        measures: By name; those that could be taken.
        volume_z: By label name, deviations of log volume from the synthetic scans' mean; empty
            without a calibration.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    measures: dict[str, float]
    volume_z: dict[str, float]


def rules(texts: Sequence[str]) -> str:
    """What fired, in one line: the worst in full, of the others how many."""
    shown = "; ".join(texts[:_NUM_SHOWN])
    more = len(texts) - _NUM_SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown


def quality_of(prediction: Prediction) -> Quality:
    """The verdict on a prediction, by the calibration of the model that made it."""
    return judge(gather(prediction), prediction.predictor.calibration)


def judge(qc_input: QcInput, calibration: Calibration | None) -> Quality:
    """The verdict on what was measured of one scan."""
    findings = [Finding("WARN", "registration", doubt) for doubt in qc_input.doubts]
    if qc_input.repeated > _MAX_REPEATED:
        text = f"{qc_input.repeated:.0%} of neighbouring voxels are equal; is it a label map?"
        findings.append(Finding("FAIL", "repeated values", text))
    measures, volume_z = qc_input.measures, {}
    if qc_input.bias_field is not None:
        measures = measures | {"bias_field": qc_input.bias_field}
    if (qc_input.bias_field or 0) > MAX_BIAS:
        text = (
            f"one tissue is {qc_input.bias_field:.2f} times as bright in one place as in another, "
            f"usual is less than {MAX_BIAS}"
        )
        findings.append(Finding("WARN", "bias_field", text))
    if calibration is not None:
        volume_z = {
            name: calibration.log_volume[name].z(value)
            for name, value in qc_input.log_volumes.items()
            if name in calibration.log_volume
        }
        if volume_z:
            measures = measures | {"volume_deviation": volume_deviation(volume_z)}
        findings += _outliers(measures, calibration)
    findings.sort(key=lambda finding: finding.verdict != "FAIL")
    nothing: Verdict = "not measured" if calibration is None else "PASS"
    verdict = findings[0].verdict if findings else nothing
    return Quality(verdict, tuple(findings), measures, volume_z)


def _outliers(measures: dict[str, float], calibration: Calibration) -> list[Finding]:
    """The measures out of bounds, worst first."""
    found: list[tuple[float, Finding]] = []
    for name, value in measures.items():
        spread = calibration.measures.get(name)
        if spread is None:
            continue
        z = spread.z(log_of(value))
        badness = {"high": z, "low": -z, "both": abs(z)}[MEASURES[name].bad]
        if badness <= calibration.warn_z:
            continue
        verdict: Verdict = "FAIL" if badness > calibration.fail_z else "WARN"
        low, high = (math.exp(spread.mean + s * calibration.warn_z * spread.sd) for s in (-1, 1))
        shown = told_apart(value, low, high)
        text = f"{name} {shown[0]}, usual {shown[1]} to {shown[2]} ({MEASURES[name].text})"
        found.append((badness, Finding(verdict, name, text)))
    return [finding for _, finding in sorted(found, key=lambda pair: -pair[0])]
