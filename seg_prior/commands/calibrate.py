"""`calibrate`: a model and label maps in; what its results are judged by into its header."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from seg_prior.config.runtime import RuntimeConfig
from seg_prior.config.synthesis import AugmentConfig, SynthesisConfig
from seg_prior.core.progress import progress
from seg_prior.files import Files, atomic_write

if TYPE_CHECKING:
    from seg_prior.api import Segmenter
    from seg_prior.checkpoints.calibration import Calibration
    from seg_prior.quality.calibrate import Record

SUMMARY = "Teach a model how far to trust it: intervals of volumes, quality control."
EXAMPLE = "seg-prior calibrate model.safetensors maps/"
OPERANDS = "model labels..."
KEPT = ".calibration.jsonl"
"""In place of the model's suffix: what was measured so far, until all is."""
log = logging.getLogger(__name__)


class Config(RuntimeConfig):
    """`calibrate`: a model and label maps in; what its results are judged by into the model."""

    model: Path
    """Checkpoint of any kind; its header is written anew, its weights stay as they are."""
    labels: list[Path]
    """Label maps that synthetic scans are made from."""
    num_scans: int = Field(32, ge=8, le=100_000)
    """How many; the maps take turns."""
    spacing_mm: float | None = Field(None, gt=0, le=1000)
    """Of the scans; None is half of prior space's."""
    augment: AugmentConfig = AugmentConfig()
    """Of the anatomies."""
    synthesis: SynthesisConfig = SynthesisConfig()
    """Of the scans."""


def files(config: Config) -> Files:
    """What `run` reads and writes."""
    from seg_prior.io.find import find_label_maps

    reads = [config.model, *find_label_maps(config.labels)]
    kept = config.model.with_suffix(KEPT)
    return Files(reads, [config.model, kept], updates=[config.model])


def run(config: Config) -> Calibration:
    """Make synthetic scans, read them, write the calibration into the model's header.

    What was measured is kept beside the model until then, so a stopped run goes on.

    Raises:
        SegPriorError: An input does not fit.
    """
    from seg_prior.api import Segmenter
    from seg_prior.checkpoints.file import write_calibration
    from seg_prior.config.inference import ReadingConfig
    from seg_prior.core.device import start
    from seg_prior.quality.calibrate import check, describe, fit

    start(config)
    reading = ReadingConfig(
        model=config.model, device=config.device, threads=config.threads, seed=config.seed
    )
    segmenter = Segmenter.of(reading)
    kept = config.model.with_suffix(KEPT)
    records = _measure_all(config, segmenter, kept)
    calibration = fit(records).model_copy(update={"check": check(records)})
    write_calibration(config.model, calibration)
    kept.unlink()
    for line in describe(calibration):
        log.info(line)
    return calibration


def _measure_all(config: Config, segmenter: Segmenter, kept: Path) -> list[Record]:
    """Scan after scan, each kept in a file at once."""

    from seg_prior.checkpoints.request import Request
    from seg_prior.io.find import find_label_maps
    from seg_prior.quality.calibrate import read_log, record_of
    from seg_prior.synthesis.anatomies import generator_of
    from seg_prior.synthesis.scan import synthetic_scan
    from seg_prior.training.align import centered_map

    paths = find_label_maps(config.labels)
    # More scans than before go on from those that are there.
    asked = Request.of(config.model_copy(update={"num_scans": 0}), [config.model, *paths])
    request = json.dumps(asked.record())
    records = read_log(kept, request)
    spacing_mm = config.spacing_mm or float(segmenter.atlas.grid.spacing_mm.min()) / 2
    numbers = range(len(records), config.num_scans)
    shown = progress(
        numbers,
        log,
        "synthetic scans",
        total=config.num_scans,
        first=len(records),
        is_slow=True,
    )
    for n in shown:
        path = paths[n % len(paths)]
        label_map, sources = centered_map(path, segmenter.model, config.synthesis)
        scan = synthetic_scan(
            label_map,
            sources,
            spacing_mm,
            config.augment,
            config.synthesis,
            generator_of(config.seed, n),
        )
        records.append(record_of(segmenter.segment(scan.volume), scan, path.name))
        with atomic_write(kept) as temporary:
            lines = [request, *(record.model_dump_json() for record in records)]
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return records
