"""What synthetic scans measured, and the calibration that is fitted to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from seg_prior.checkpoints.calibration import Calibration, Spread, VolumeError
from seg_prior.errors import ConfigError
from seg_prior.inference.prediction import Prediction
from seg_prior.inference.uncertainty import (
    calibration_error,
    credible_interval,
    fit_temperature,
    fit_volume_error,
    log_volume,
    soften,
)
from seg_prior.quality.measures import MEASURES, log_of, measure, volume_deviation
from seg_prior.synthesis.anatomies import generator_of
from seg_prior.synthesis.scan import SyntheticScan

COVERAGE = 0.9
WARN_RATE, FAIL_RATE = 0.005, 1e-5
"""Of synthetic scans, by one measure, on its bad side."""
_NUM_VOTES = 4000  # voxels of a scan whose confidence is kept
_SURELY_BACKGROUND = 0.99
_NUM_DRAWS = 2  # of z; their mean square over all scans is what counts


class Record(BaseModel):
    """What one synthetic scan measured.

    Attributes:
        map: Name of its label map.
        contrast: Of its intensities.
        true_mm3, soft_mm3, spread: By label name: true and posterior volume, and the deviation of
            its log over draws of z.
        measures: As `quality.measure`.
        votes: Probability of the best label at some voxels that are not surely background;
            negative where that label is wrong.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    map: str
    contrast: str
    true_mm3: dict[str, float]
    soft_mm3: dict[str, float]
    spread: dict[str, float]
    measures: dict[str, float]
    votes: list[float]


def record_of(result: Prediction, scan: SyntheticScan, name: str) -> Record:
    """What the prediction of a synthetic scan measured.

    Args:
        result: The prediction.
        scan: The scan, and the labels it was made from.
        name: Of its label map.
    """
    table = result.predictor.label_table
    voxel_mm3 = scan.volume.grid.voxel_volume_mm3
    true_mm3 = np.bincount(scan.indices.ravel(), minlength=len(table)) * voxel_mm3
    spread = result.log_volume_spread(_NUM_DRAWS)
    is_asked = [(n, label.name) for n, label in enumerate(table.labels) if label.is_structure]
    return Record(
        map=name,
        contrast=scan.contrast,
        true_mm3={name: float(true_mm3[n]) for n, name in is_asked},
        soft_mm3={name: result.soft_mm3[n] for n, name in is_asked},
        spread={name: float(spread[n]) for n, name in is_asked},
        measures=measure(result),
        votes=_votes(result, scan),
    )


def fit(records: Sequence[Record]) -> Calibration:
    """Moments of everything over synthetic scans."""
    from scipy.stats import t

    num = len(records)
    of_new_scan = math.sqrt(1 + 1 / num)  # the mean, too, comes from so many scans
    quantile, warn_z, fail_z = (
        float(t.isf(tail, num - 1)) * of_new_scan
        for tail in ((1 - COVERAGE) / 2, WARN_RATE, FAIL_RATE)
    )
    confidence, is_right = votes_of(records)
    errors = {name: _volume_error(records, name) for name in records[0].true_mm3}
    log_volumes = {
        name: _spread([log_volume(r.soft_mm3[name]) for r in records]) for name in errors
    }
    deviation = [
        volume_deviation(
            {name: log_volumes[name].z(log_volume(r.soft_mm3[name])) for name in errors}
        )
        for r in records
    ]
    names = set.intersection(*(set(r.measures) for r in records))
    measures = {n: _spread([log_of(r.measures[n]) for r in records]) for n in names}
    measures["volume_deviation"] = _spread([log_of(value) for value in deviation])
    return Calibration(
        num_scans=num,
        quantile=quantile,
        warn_z=warn_z,
        fail_z=fail_z,
        temperature=fit_temperature(confidence, is_right),
        volume_error={name: error for name, error in errors.items() if error is not None},
        log_volume=log_volumes,
        measures={name: measures[name] for name in MEASURES if name in measures},
        check={},
    )


def check(records: Sequence[Record]) -> dict[str, float]:
    """Coverage and calibration error on scans of those label maps that the fit has not seen.

    The maps are halved; each half is judged by what the other taught. Empty for fewer than two
    maps.
    """
    maps = sorted({record.map for record in records})
    halves = [[r for r in records if maps.index(r.map) % 2 == half] for half in (0, 1)]
    if min(len(half) for half in halves) < 2:
        return {}
    inside: list[bool] = []
    errors_before, errors_after = [], []
    for fitted_to, judged in (halves, halves[::-1]):
        calibration = fit(fitted_to)
        for record in judged:
            inside += covered(record, calibration)
        confidence, is_right = votes_of(judged)
        softened = soften(torch.from_numpy(confidence), calibration.temperature).numpy()
        errors_before.append(calibration_error(confidence, is_right))
        errors_after.append(calibration_error(softened, is_right))
    return {
        "volume_coverage": float(np.mean(inside)),
        "num_volumes": len(inside),
        "calibration_error_before": float(np.mean(errors_before)),
        "calibration_error": float(np.mean(errors_after)),
    }


def covered(record: Record, calibration: Calibration) -> list[bool]:
    """Of each label with an interval, whether it holds the true volume."""
    found = []
    for name, error in calibration.volume_error.items():
        if record.true_mm3[name] > 0:
            spread = record.spread[name]
            low, high = credible_interval(
                record.soft_mm3[name], spread, error, calibration.quantile
            )
            found.append(low <= record.true_mm3[name] <= high)
    return found


def describe(calibration: Calibration) -> list[str]:
    """For people."""
    held_out = ", ".join(f"{name} {value:.3g}" for name, value in calibration.check.items())
    return [
        f"calibrated on {calibration.num_scans} synthetic scans; "
        f"confidence has temperature {calibration.temperature:.2f}",
        f"on label maps of the other half: {held_out or 'not measured, needs two label maps'}",
    ]


def votes_of(records: Sequence[Record]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(N,) confidence, and whether the best label was right."""
    votes = np.concatenate([record.votes for record in records])
    return np.abs(votes), votes > 0


def read_log(log: Path, request: str) -> list[Record]:
    """What an earlier run of the same request measured; nothing of any other."""
    if not log.is_file():
        return []
    first, *lines = log.read_text(encoding="utf-8").splitlines()
    if first != request:
        return []
    try:
        return [Record.model_validate_json(line) for line in lines]
    except ValidationError as error:
        raise ConfigError(f"{log}: found a damaged log, need its own. Delete it.") from error


def _votes(result: Prediction, scan: SyntheticScan) -> list[float]:
    """Signed confidences of voxels drawn from those that are not surely background."""
    truth = torch.from_numpy(scan.indices).flatten()[result.voxels.index.cpu()]
    is_open = (result.background_probability < _SURELY_BACKGROUND).cpu().nonzero().flatten()
    generator = generator_of(0, is_open.numel())
    chosen = is_open[torch.randperm(is_open.numel(), generator=generator)[:_NUM_VOTES]]
    is_right = result.summary.best.cpu()[chosen] == truth[chosen]
    sign = torch.where(is_right, 1.0, -1.0)
    return [round(value, 5) for value in (sign * result.summary.confidence.cpu()[chosen]).tolist()]


def _volume_error(records: Sequence[Record], name: str) -> VolumeError | None:
    """None where half of the scans or more lack the label."""
    shown = [r for r in records if r.true_mm3[name] > 0 and r.soft_mm3[name] > 0]
    if len(shown) < max(3, len(records) / 2):
        return None
    log_ratio = np.log([r.true_mm3[name] / r.soft_mm3[name] for r in shown])
    return fit_volume_error(log_ratio, np.array([r.spread[name] for r in shown]))


def _spread(values: Sequence[float]) -> Spread:
    return Spread(mean=float(np.mean(values)), sd=max(float(np.std(values, ddof=1)), 1e-6))
