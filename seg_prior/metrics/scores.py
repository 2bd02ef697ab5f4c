"""Every metric of a label map against its reference, and their spread over subjects."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.grid import Grid
from seg_prior.metrics.overlap import dice_by_id, nan_mean
from seg_prior.metrics.surface import surface_distance_by_id
from seg_prior.metrics.volumes import volume_error_mm3_by_id, volume_mm3_by_id

ALL = "all structures"
METRICS = ("dice", "hd95_mm", "mean_surface_distance_mm", "volume_error_mm3")


class Score(NamedTuple):
    """One structure of one subject; nan is what cannot be measured.

    A structure the reference lacks is not scored: all is nan but the predicted volume. One the
    prediction misses has Dice 0 and volume 0, and no distance.
    """

    subject: str
    id: int
    name: str
    dice: float
    hd95_mm: float
    mean_surface_distance_mm: float
    volume_error_mm3: float
    volume_mm3: float
    reference_volume_mm3: float

    @property
    def is_missed(self) -> bool:
        """Whether the reference has the structure and the prediction does not."""
        return self.reference_volume_mm3 > 0 and self.volume_mm3 == 0

    @property
    def is_spurious(self) -> bool:
        """Whether the prediction has the structure and the reference does not."""
        return math.isnan(self.reference_volume_mm3) and self.volume_mm3 > 0


class Spread(NamedTuple):
    """Mean, sample standard deviation (nan where n < 2) and count of the values that are known."""

    mean: float
    sd: float
    n: int


class SummaryRow(NamedTuple):
    """One structure over all subjects; `ALL` is each subject's mean over its structures."""

    name: str
    dice: Spread
    hd95_mm: Spread
    mean_surface_distance_mm: Spread
    volume_error_mm3: Spread


def score_label_maps(
    subject: str,
    maps: tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]],
    grid: Grid,
    names: Mapping[int, str],
    surface: bool = True,
) -> list[Score]:
    """The scores of one subject, one for each name, in the order of `names`.

    Args:
        subject: Written into each score.
        maps: Prediction and reference, ids on `grid`.
        grid: Where both maps lie.
        names: id -> name of the structures to score.
        surface: Whether to measure surface distances, which take most of the time.
    """
    pred, ref = maps
    dice = dice_by_id(pred, ref)
    distance = surface_distance_by_id(pred, ref, grid.spacing_mm) if surface else {}
    pred_mm3 = volume_mm3_by_id(pred, grid.voxel_volume_mm3)
    ref_mm3 = volume_mm3_by_id(ref, grid.voxel_volume_mm3)
    error_mm3 = volume_error_mm3_by_id(pred_mm3, ref_mm3)
    return [
        Score(
            subject,
            id_,
            name,
            dice.get(id_, math.nan),
            *distance.get(id_, (math.nan, math.nan)),
            error_mm3.get(id_, math.nan),
            pred_mm3.get(id_, 0.0 if id_ in ref_mm3 else math.nan),
            ref_mm3.get(id_, math.nan),
        )
        for id_, name in names.items()
    ]


def summarise(scores: Sequence[Score]) -> tuple[SummaryRow, ...]:
    """Each structure over the subjects in order of id, then `ALL`.

    `ALL` has no volume error: errors of one sign would hide those of the other.

    >>> maps, grid = (np.array([[[1, 1, 0]]]), np.array([[[1, 0, 0]]])), Grid((1, 1, 3), np.eye(4))
    >>> scores = score_label_maps("sub-01", maps, grid, {1: "Left-Eye"}, surface=False)
    >>> row, _ = summarise(scores)
    >>> row.name, round(row.dice.mean, 3), row.volume_error_mm3.mean
    ('Left-Eye', 0.667, 1.0)
    """
    rows = []
    for id_, name in sorted({(score.id, score.name) for score in scores}):
        mine = [score for score in scores if score.id == id_]
        rows.append(SummaryRow(name, *(_spread(getattr(s, m) for s in mine) for m in METRICS)))
    dice, hd95, distance = (_spread_of_means(scores, metric) for metric in METRICS[:-1])
    return (*rows, SummaryRow(ALL, dice, hd95, distance, _spread(())))


def _spread_of_means(scores: Sequence[Score], metric: str) -> Spread:
    """Spread over subjects of each one's mean over its structures."""
    of_subject: dict[str, list[float]] = {}
    for score in scores:
        of_subject.setdefault(score.subject, []).append(getattr(score, metric))
    return _spread(map(nan_mean, of_subject.values()))


def _spread(values: Iterable[float]) -> Spread:
    known = [value for value in values if not math.isnan(value)]
    sd = statistics.stdev(known) if len(known) > 1 else math.nan
    return Spread(nan_mean(known), sd, len(known))
