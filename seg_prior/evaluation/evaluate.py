"""`evaluate`: label maps and their references in, a table of how far they agree out."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seg_prior.core.grid import Grid
from seg_prior.core.labels import BACKGROUND, LabelTable
from seg_prior.core.sides import left_right_pairs
from seg_prior.core.volume import Volume, gathered
from seg_prior.errors import ConfigError, LabelsError, SegPriorError, few
from seg_prior.evaluation.dice_table import BRAIN_IDS
from seg_prior.files import write_json
from seg_prior.io.find import find_label_maps, scan_key
from seg_prior.io.formats import strip_suffix
from seg_prior.io.label_tables import label_table_from_ids
from seg_prior.io.read import read_label_map
from seg_prior.io.tables import write_table
from seg_prior.metrics.overlap import nan_mean
from seg_prior.metrics.scores import (
    METRICS,
    Score,
    Spread,
    SummaryRow,
    score_label_maps,
    summarise,
)
from seg_prior.registration.groupwise import find_landmarks
from seg_prior.registration.laterality import MIRRORED, is_mirrored

log = logging.getLogger(__name__)


class Failure(NamedTuple):
    """A prediction that could not be scored, and why, in one line."""

    subject: str
    message: str


class EvaluateResult(NamedTuple):
    """What `run` found; it failed in part where `failed` is not empty."""

    scores: tuple[Score, ...]
    summary: tuple[SummaryRow, ...]
    failed: tuple[Failure, ...]
    references_without_prediction: tuple[str, ...]


class _Pair(NamedTuple):
    subject: str
    pred: Path
    ref: Path


def run(
    pred: Sequence[Path],
    ref: Sequence[Path],
    out: Path | None,
    label_table: LabelTable | None,
    surface: bool = True,
) -> EvaluateResult:
    """Score predicted label maps against their references, subject by subject.

    Files are paired by `scan_key`; one prediction and one reference are a pair whatever they
    are called. A subject that fails is told in the result and stops no other, unless it is alone.

    Args:
        pred, ref: Label maps, as `find_label_maps` takes them.
        out: A .csv file, one row a subject and structure, empty cells for nan; the same rows and
            the summary go beside it as .json. None writes nothing.
        label_table: Both maps are read through it, so that each `source_ids` counts as its label;
            its structures are scored. None takes the ids as they are and scores all.
        surface: Whether to measure surface distances, which take most of the time.

    Raises:
        ConfigError: Nothing to pair, two files of one subject, or `out` is not a .csv.
        SegPriorError: The only pair fails.
    """
    if out is not None and out.suffix.lower() != ".csv":
        raise ConfigError(f"{out}: found a name ending in '{out.suffix}', need one in '.csv'.")
    pairs, failures, spare = _pair(find_label_maps(pred), find_label_maps(ref))
    scores: list[Score] = []
    remarks: list[tuple[str, str]] = []
    for pair in pairs:
        try:
            of_subject = _score(pair, label_table, surface, remarks)
        except SegPriorError as error:
            if len(pairs) == 1 and not failures:
                raise
            failures.append(Failure(pair.subject, str(error)))
            continue
        scores += of_subject
        mean = nan_mean(score.dice for score in of_subject)
        log.info("%s: mean Dice %.3f", pair.subject, mean)
    result = EvaluateResult(tuple(scores), summarise(scores), tuple(failures), tuple(spare))
    if out is not None and scores:
        _write(result, out)
    for line in _report(result):
        log.info(line)
    for remark in gathered(remarks):
        log.warning("%s", remark)
    if spare:
        log.warning("references without a prediction, not counted: %d (%s)", len(spare), few(spare))
    return result


def _pair(
    preds: Sequence[Path], refs: Sequence[Path]
) -> tuple[list[_Pair], list[Failure], list[str]]:
    """Pairs, predictions that have no reference, and subjects that have a reference only."""
    if len(preds) == 1 and len(refs) == 1:
        return [_Pair(scan_key(preds[0]), preds[0], refs[0])], [], []
    pred_of, ref_of = _by_subject(preds), _by_subject(refs)
    ref_for = {subject: _reference_name(subject, ref_of) for subject in pred_of}
    shared = [subject for subject, name in ref_for.items() if name in ref_of]
    if not shared:
        raise ConfigError(
            f"{preds[0]}: found no reference of subject {scan_key(preds[0])}, nor of any other "
            f"prediction; the references begin with {refs[0].name}, subject "
            f"{scan_key(refs[0])}. Name both alike, or give one pair at a time."
        )
    failures = [
        Failure(subject, f"{path}: found no reference of subject {subject}. Add it to REF.")
        for subject, path in pred_of.items()
        if subject not in shared
    ]
    used = set(ref_for.values())
    return (
        [_Pair(subject, pred_of[subject], ref_of[ref_for[subject]]) for subject in shared],
        failures,
        [subject for subject in ref_of if subject not in used],
    )


def _reference_name(subject: str, ref_of: Mapping[str, Path]) -> str:
    """The results of `sub-1_T1w` and `sub-1_T2w`, `sub-1_space-T1w`, may share one reference."""
    if subject in ref_of:
        return subject
    return re.sub(r"_space-[A-Za-z0-9]+$", "", subject)


def _by_subject(paths: Sequence[Path]) -> dict[str, Path]:
    """One path a subject: where it has several, its label map, which BIDS calls `_dseg`."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(scan_key(path), []).append(path)
    chosen = {}
    for subject, group in groups.items():
        named = [path for path in group if strip_suffix(path).endswith("_dseg")] or group
        if len(named) > 1:
            raise ConfigError(
                f"{named[0]}: found {named[1]} of the same subject, {subject}, need one label "
                "map a subject. Choose with a pattern such as 'folder/*_dseg.nii.gz'."
            )
        chosen[subject] = named[0]
    return chosen


def _score(
    pair: _Pair, table: LabelTable | None, surface: bool, remarks: list[tuple[str, str]]
) -> list[Score]:
    """The scores of one subject; what is odd about its files joins the remarks."""
    pred, ref = read_label_map(pair.pred), read_label_map(pair.ref)
    for volume in (pred, ref):
        remarks += [(volume.source, text) for text in _warnings(volume, table)]
    if not pred.grid.same_as(ref.grid):
        raise LabelsError(_mismatch(pred, ref))
    if surface and _is_sheared(ref.grid):
        remarks.append((ref.source, "its axes are sheared, surface distances are approximate"))
    if table is None:
        maps = (pred.data, ref.data)
        names = {i: f"label-{i}" for i in np.union1d(*maps).tolist() if i != BACKGROUND}
    else:
        # All values of one label become its id: the corpus callosum counts as white matter.
        maps = (
            table.ids[table.remap(pred.data, pred.source)],
            table.ids[table.remap(ref.data, ref.source)],
        )
        names = {label.id: label.name for label in table.labels if label.is_structure}
    return score_label_maps(pair.subject, maps, ref.grid, names, surface)


def _warnings(volume: Volume, table: LabelTable | None) -> Iterator[str]:
    yield from volume.warnings
    ids = volume.data
    if table is None:  # FreeSurfer's ids speak for themselves, and others do not
        ids = np.where(np.isin(ids, list(BRAIN_IDS)), ids, BACKGROUND)
    found = table or label_table_from_ids(np.unique(ids).tolist())
    pairs = left_right_pairs(found)
    indices = found.remap(ids, volume.source) if pairs else None
    if indices is not None and found.is_structure[indices].any():
        marks = find_landmarks(indices, volume.grid.affine, found.is_structure)
        if is_mirrored(marks, pairs):
            yield MIRRORED


def _mismatch(pred: Volume, ref: Volume) -> str:
    found, needed = pred.grid.shape, ref.grid.shape
    if found == needed:
        shift_mm = pred.grid.shift_mm(ref.grid)
        voxels = shift_mm / ref.grid.spacing_mm.min()
        found_text = f"corners that lie up to {shift_mm:.3g} mm, {voxels:.3g} voxels, away"
        needed_text = f"the affine of {ref.source}"
    else:
        found_text, needed_text = f"shape {found}", f"shape {needed} of {ref.source}"
    return (
        f"{pred.source}: found {found_text}, need {needed_text}. "
        "Resample the prediction to the reference's grid."
    )


def _is_sheared(grid: Grid) -> bool:
    axes = grid.affine[:3, :3] / grid.spacing_mm
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3)


def _report(result: EvaluateResult) -> list[str]:
    """The summary, what was missed, and what failed, for a person to read."""
    heads = ("Dice", "HD95 [mm]", "mean distance [mm]", "volume error [mm^3]")
    digits = (3, 2, 2, 0)
    width = max(14, *(len(row.name) for row in result.summary))
    lines = ["", f"{'mean +- sd (n)':{width}}" + "".join(f"{head:>24}" for head in heads)]
    for row in result.summary:
        cells = (_cell(spread, d) for spread, d in zip(row[1:], digits, strict=True))
        lines.append(f"{row.name:{width}}" + "".join(f"{cell:>24}" for cell in cells))
    missed = sum(score.is_missed for score in result.scores)
    if missed:
        lines.append(f"structures missed by the prediction: {missed} (Dice 0, no distance)")
    spurious = [score for score in result.scores if score.is_spurious]
    if spurious:
        names = few(list(dict.fromkeys(score.name for score in spurious)))
        lines.append(f"structures only in the prediction, not scored: {len(spurious)} ({names})")
    return lines


def _cell(spread: Spread, digits: int) -> str:
    if spread.n == 0:
        return "-"
    sd = "-" if math.isnan(spread.sd) else f"{spread.sd:.{digits}f}"
    return f"{spread.mean:.{digits}f} +- {sd} ({spread.n})"


def _write(result: EvaluateResult, out: Path) -> None:
    """Write the .csv and the .json; each appears whole or not at all."""
    rows = [_plain(score) for score in result.scores]
    document = {
        "scores": rows,
        "summary": [
            {"name": row.name} | {metric: _plain(getattr(row, metric)) for metric in METRICS}
            for row in result.summary
        ],
        "failures": [_plain(failure) for failure in result.failed],
        "references_without_prediction": result.references_without_prediction,
    }
    write_table(out, Score._fields, [list(row.values()) for row in rows])
    write_json(out.with_suffix(".json"), document)


def _plain(row: Score | Spread | Failure) -> dict[str, Any]:
    """A row as files hold it: numbers rounded to 1e-6, and None, an empty cell, for nan."""
    return {
        key: (None if math.isnan(value) else round(value, 6)) if isinstance(value, float) else value
        for key, value in row._asdict().items()
    }
