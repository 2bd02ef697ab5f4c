"""Every method on every scan in one process: priors of the same label maps share a registration."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.benchmark import (
    Cell,
    Scan,
    commit,
    dice_on,
    find_scans,
    key_of,
    machine,
    settings_for,
)
from experiments.benchmark_page import known_dice
from experiments.config import BenchmarkConfig, BenchmarkDataset, BenchmarkMethod
from seg_prior.api import Segmenter
from seg_prior.commands.segment import Config as SegmentConfig
from seg_prior.core.device import start
from seg_prior.core.labels import LabelTable
from seg_prior.core.volume import Volume
from seg_prior.errors import SegPriorError
from seg_prior.evaluation.dice_table import mean_dice, mean_sd_n
from seg_prior.evaluation.mixture_baseline import cluster_intensities
from seg_prior.files import write_text
from seg_prior.io.label_tables import read_label_table
from seg_prior.io.nifti import read_label_map, read_volume, write_volume
from seg_prior.metrics.overlap import nan_mean
from seg_prior.registration.pipeline import RegisteredScan, register_scan

log = logging.getLogger("seg_prior.pipelines")
LARGE_VOXELS = 200
COST_NOTE = (
    "All methods ran in one process and shared each scan's registration, with a locator and "
    "without, whose time is in each method's; start-up (about 3 CPU s) is not. Peak memory is the "
    "process's until then."
)


def run(dataset: BenchmarkDataset, config: BenchmarkConfig) -> list[Cell]:
    """The cells of `benchmark.run` at a fraction of its time; each is measured once.

    All models must come of the same label maps, in the same prior space; those with a locator share
    one.

    Raises:
        SegPriorError: A file is missing or does not fit.
    """
    device = start(config)
    table_path = config.tables / dataset.label_table
    models = {method.model for method in config.methods if method.model is not None}
    segmenters = {
        model: Segmenter.load(config.models / model, device=device) for model in sorted(models)
    }
    cells = []
    for scan in find_scans(dataset, config):
        shared = _Shared(scan, read_label_table(table_path).written, segmenters)
        for method in config.methods:
            asked = settings_for(scan, method, config)
            name = f"{scan.subject}_{key_of(scan, asked, table_path)[:12]}"
            done = (config.cache / dataset.name / f"{name}.json").resolve()
            if not done.exists():
                target = done.with_name(f"{name}_dseg.nii.gz")
                cell = shared.cell(method, asked, target, machine(config.threads))
                if not cell.error:
                    cell = cell.model_copy(
                        update={"dice": dice_on(target, scan.reference, table_path)}
                    )
                write_text(done, cell.model_dump_json(indent=1))
            cells.append(Cell.model_validate_json(done.read_text("utf-8")))
            said = cells[-1].error or f"{mean_dice(known_dice(cells[-1]), shared.table):.3f}"
            log.info("%s: %s: %s: %s", dataset.name, scan.subject, method.name, said)
    return cells


class _Shared:
    """One scan, read and registered once for all methods."""

    def __init__(self, scan: Scan, table: LabelTable, segmenters: dict[Path, Segmenter]) -> None:
        self.scan, self.table, self.segmenters = scan, table, segmenters
        self._conformed: dict[bool, tuple[RegisteredScan, float, float]] = {}

    @cached_property
    def volume(self) -> Volume:
        return read_volume(self.scan.image)

    def registered(self, segmenter: Segmenter) -> tuple[RegisteredScan, float, float]:
        """In both spaces, and CPU and wall seconds of that; once with a locator, once without."""
        has_locator = segmenter.model.locator is not None
        if has_locator not in self._conformed:
            cpu, wall = time.process_time(), time.perf_counter()
            registered = register_scan([self.volume], segmenter.atlas, n4=False, seed=0)
            cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
            self._conformed[has_locator] = registered, cpu_s, wall_s
        return self._conformed[has_locator]

    def cell(
        self, method: BenchmarkMethod, asked: SegmentConfig | None, target: Path, machine_: str
    ) -> Cell:
        """What a method makes of the scan; its label map is written."""
        about = {
            "method": method.name,
            "subject": self.scan.subject,
            "label_map": target,
            "commit": commit(),
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine_,
        }
        cpu_s = wall_s = 0.0
        try:
            if asked is not None and method.model is not None:
                _, cpu_s, wall_s = self.registered(self.segmenters[method.model])
            cpu, wall = time.process_time(), time.perf_counter()
            label_map = self._label_map(method, asked)
        except SegPriorError as error:
            return Cell.model_validate(about | {"error": str(error)})
        write_volume(target, label_map, self.volume)
        costs = {
            "cpu_s": cpu_s + time.process_time() - cpu,
            "wall_s": wall_s + time.perf_counter() - wall,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        }
        return Cell.model_validate(about | costs)

    def _label_map(
        self, method: BenchmarkMethod, asked: SegmentConfig | None
    ) -> NDArray[np.integer]:
        if asked is None or method.model is None:
            known = read_label_map(self.scan.reference)
            indices = self.table.remap(known.data, known.source)
            return self.table.ids[cluster_intensities(self.volume, self.table, indices)]
        segmenter = replace(self.segmenters[method.model], config=asked)
        registered, _, _ = self.registered(segmenter)
        return segmenter.read(self.volume, (), registered, {}).label_map


def note(dataset: BenchmarkDataset, config: BenchmarkConfig, cells: Sequence[Cell]) -> str:
    """How costs were measured, and the mean over structures of more than `LARGE_VOXELS` voxels.

    A structure counts where its mean over the references is larger; in thin structures, Dice tells
    as much of half voxels as of the method.
    """
    table = read_label_table(config.tables / dataset.label_table).written
    counts = []
    for scan in find_scans(dataset, config):
        known = read_label_map(scan.reference)
        indices = table.remap(known.data, known.source)
        counts.append(np.bincount(indices.ravel(), minlength=len(table)))
    is_large = (np.mean(counts, axis=0) > LARGE_VOXELS) & table.is_structure
    ids = set(table.ids[is_large].tolist())
    told = []
    for method in config.methods:
        means = [
            nan_mean([value for id_, value in known_dice(cell).items() if id_ in ids])
            for cell in cells
            if cell.method == method.name and not cell.error
        ]
        told.append(f"{method.name} {mean_sd_n(means)}")
    return (
        f"{COST_NOTE}\n\nOver the {len(ids)} of {int(table.is_structure.sum())} structures with "
        f"more than {LARGE_VOXELS} voxels: {'; '.join(told)}."
    )
