"""`calibrate`: a model and label maps in; what its results are judged by into its header."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from seg_prior.api import Segmentation, Segmenter
from seg_prior.checkpoints.calibration import KEY, Calibration
from seg_prior.checkpoints.file import write_reference
from seg_prior.checkpoints.provenance import request_of
from seg_prior.config.commands import CalibrateConfig
from seg_prior.config.inference import ReadingConfig
from seg_prior.core.device import start
from seg_prior.errors import ConfigError, LabelsError
from seg_prior.files import whole_file
from seg_prior.inference.predictor import typical_intensities
from seg_prior.io.find import find_images
from seg_prior.io.nifti import read_label_map
from seg_prior.quality.calibrate import Record, check, describe, fit, read_log
from seg_prior.quality.measures import measure
from seg_prior.synthesis.anatomies import generator_of
from seg_prior.synthesis.scan import PaintedScan, centered, paint_scan

MIN_SCANS = 8
_NUM_VOTES = 4000  # voxels of a scan whose confidence is kept
_SURELY_BACKGROUND = 0.99
_NUM_DRAWS = 2  # of z; their mean square over all scans is what counts


def run(config: CalibrateConfig, show: Callable[[str], None] = print) -> Calibration:
    """Paint scans, read them, write the calibration into the model's header.

    What was measured is kept beside the model until then, so a stopped run goes on.

    Raises:
        SegPriorError: An input does not fit.
    """
    if config.num_scans < MIN_SCANS:
        raise ConfigError(f"num_scans: found {config.num_scans}, need at least {MIN_SCANS}.")
    start(config)
    reading = ReadingConfig(
        model=config.model, device=config.device, threads=config.threads, seed=config.seed
    )
    segmenter = Segmenter.of(reading)
    log = config.model.with_suffix(".calibration.jsonl")
    records = _measure_all(config, segmenter, log)
    calibration = fit(records).model_copy(update={"check": check(records)})
    write_reference(config.model, {KEY: calibration.model_dump(mode="json")})
    log.unlink()
    for line in describe(calibration):
        show(line)
    return calibration


def measure_one(segmenter: Segmenter, scan: PaintedScan, name: str) -> Record:
    """Read one painted scan."""
    result = segmenter.segment(scan.volume)
    table = segmenter.label_table
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


def _votes(result: Segmentation, scan: PaintedScan) -> list[float]:
    """Signed confidences of voxels drawn from those that are not surely background."""
    truth = torch.from_numpy(scan.indices).flatten()[result.voxels.index.cpu()]
    is_open = (result.background_probability < _SURELY_BACKGROUND).cpu().nonzero().flatten()
    generator = generator_of(0, is_open.numel())
    chosen = is_open[torch.randperm(is_open.numel(), generator=generator)[:_NUM_VOTES]]
    is_right = result.summary.best.cpu()[chosen] == truth[chosen]
    sign = torch.where(is_right, 1.0, -1.0)
    return [round(value, 5) for value in (sign * result.summary.confidence.cpu()[chosen]).tolist()]


def _measure_all(config: CalibrateConfig, segmenter: Segmenter, log: Path) -> list[Record]:
    """Scan after scan, each written to the log at once."""
    paths = find_images(config.labels)
    # More scans than before go on from those that are there.
    request = request_of(config.model_copy(update={"num_scans": 0}))
    request += segmenter.model.sha256 + str([path.name for path in paths])
    records = read_log(log, request)
    table = segmenter.label_table
    typical = torch.from_numpy(typical_intensities(segmenter.model))
    spacing_mm = config.spacing_mm or float(segmenter.atlas.grid.spacing_mm.min()) / 2
    numbers = range(len(records), config.num_scans)
    for n in tqdm(numbers, desc="painted scans", disable=True if config.quiet else None):
        path = paths[n % len(paths)]
        volume = read_label_map(path)
        indices = table.remap(volume.data, volume.source)
        if not table.is_structure[indices].any():
            raise LabelsError(f"{path}: found background only, need a label map.")
        scan = paint_scan(
            centered(torch.from_numpy(indices), volume.grid),
            typical,
            table,
            spacing_mm,
            config.augment,
            config.paint,
            generator_of(config.seed, n),
        )
        records.append(measure_one(segmenter, scan, path.name))
        with whole_file(log) as temporary:
            lines = [request, *(record.model_dump_json() for record in records)]
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return records
