"""Every method on every scan, each measured once, in a fresh process, as a user would run it."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict

from experiments.config import BenchmarkConfig, BenchmarkDataset, BenchmarkMethod
from experiments.stopwatch import Cost, measure
from seg_prior.cli.settings import resolve
from seg_prior.commands.segment import Config as SegmentConfig
from seg_prior.errors import ConfigError
from seg_prior.evaluation.dice_table import dice_of_structures
from seg_prior.files import sha256_of, write_text
from seg_prior.io.find import find_images, find_label_maps, scan_key
from seg_prior.io.label_tables import read_label_table
from seg_prior.io.read import read_label_map

log = logging.getLogger("seg_prior.pipelines")
MIXTURE = (
    "import sys; from pathlib import Path; from seg_prior.evaluation import mixture_baseline;"
    "mixture_baseline.run(*map(Path, sys.argv[1:]))"
)


class Scan(NamedTuple):
    """A scan with its reference."""

    subject: str
    image: Path
    reference: Path


class Cell(BaseModel):
    """What one method made of one scan.

    Attributes:
        method, subject: Which.
        dice: Structure id -> Dice; None where the reference lacks the structure.
        cpu_s, wall_s, peak_mb: Of the whole command, start-up included.
        label_map: The result.
        error: What the command said, if it failed; then there is no Dice and no cost.
        commit, date, machine: Of the measurement.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    subject: str
    dice: dict[int, float | None] = {}
    cpu_s: float = math.nan
    wall_s: float = math.nan
    peak_mb: float = math.nan
    label_map: Path
    error: str = ""
    commit: str
    date: str
    machine: str


def run(dataset: BenchmarkDataset, config: BenchmarkConfig) -> list[Cell]:
    """Every method on every scan of a data set; what was measured before is not measured again.

    A cell is measured anew if its checkpoint, settings, scan, reference or label table changed,
    not if the code did: the commit of each is on the page, and deleting `cache` measures all.

    Raises:
        SegPriorError: A file is missing or does not fit.
    """
    scans = find_scans(dataset, config)
    cells = []
    for scan in scans:
        for method in config.methods:
            cell = _cell(scan, method, dataset, config)
            outcome = cell.error or f"{cell.cpu_s:.0f} CPU s, {cell.peak_mb:.0f} MB"
            log.info("%s: %s: %s: %s", dataset.name, scan.subject, method.name, outcome)
            cells.append(cell)
    return cells


def find_scans(dataset: BenchmarkDataset, config: BenchmarkConfig) -> list[Scan]:
    """The scans of a data set.

    Raises:
        ConfigError: There are none, or one has no reference.
    """
    references = {
        scan_key(path): path for path in find_label_maps([config.data / dataset.references])
    }
    scans = []
    for image in find_images([config.data / dataset.images]):
        subject = scan_key(image)
        if subject not in references:
            raise ConfigError(
                f"{image}: found no reference of subject {subject} in {dataset.references}, need "
                "one for each scan. Mend the patterns of the data set."
            )
        scans.append(Scan(subject, image, references[subject]))
    return scans


def _cell(
    scan: Scan, method: BenchmarkMethod, dataset: BenchmarkDataset, config: BenchmarkConfig
) -> Cell:
    """One measurement, from the cache if it is there."""
    table_path = config.tables / dataset.label_table
    settings = settings_for(scan, method, config)
    key = key_of(scan, settings, table_path)
    name = f"{scan.subject}_{re.sub('[^a-z0-9]+', '-', method.name.lower())}_{key[:12]}"
    base = (config.cache / dataset.name / name).resolve()
    done, target = base.with_name(f"{name}.json"), base.with_name(f"{name}_dseg.nii.gz")
    if done.exists():
        return Cell.model_validate_json(done.read_text(encoding="utf-8"))
    # What an interrupted run left has no claim: segment would refuse to replace it.
    target.unlink(missing_ok=True)
    if settings is None:
        paths = (scan.image, scan.reference, table_path, target)
        command = [sys.executable, "-c", MIXTURE, *map(str, paths)]
    else:
        settings = settings.model_copy(update={"out": target})
        request = base.with_name(f"{name}.yaml")
        write_text(request, yaml.safe_dump(settings.model_dump(mode="json")))
        command = [sys.executable, "-m", "seg_prior", "segment", "--config", str(request)]
    cost = measure(command)
    cell = Cell(
        method=method.name,
        subject=scan.subject,
        label_map=target,
        error=_error(cost),
        commit=commit(),
        date=datetime.now(UTC).date().isoformat(),
        machine=machine(config.threads),
    )
    if cell.error:
        return cell
    costs = {"cpu_s": cost.cpu_s, "wall_s": cost.wall_s, "peak_mb": cost.peak_mb}
    cell = cell.model_copy(update=costs | {"dice": dice_on(target, scan.reference, table_path)})
    write_text(done, cell.model_dump_json(indent=1))
    return cell


def settings_for(
    scan: Scan, method: BenchmarkMethod, config: BenchmarkConfig
) -> SegmentConfig | None:
    """What `segment` is asked for; None for the mixture, which is no checkpoint."""
    if method.model is None:
        return None
    runtime = {"device": config.device, "threads": config.threads, "seed": config.seed}
    paths = {
        "images": [scan.image.resolve()],
        "out": Path("unknown yet"),
        "model": (config.models / method.model).resolve(),
    }
    return resolve(SegmentConfig, None, method.segment | runtime | paths)


def key_of(scan: Scan, settings: SegmentConfig | None, label_table: Path) -> str:
    """All that a cell depends on, as a hash."""
    sources: list[object] = [_sha256(label_table)]
    for path in (scan.image, scan.reference):
        sources += [str(path.resolve()), path.stat().st_mtime_ns]
    if settings is not None:
        asked = settings.model_dump(mode="json", exclude={"images", "out", "model"})
        sources += [_sha256(settings.model), asked]
    return hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()


@lru_cache
def _sha256(path: Path) -> str:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file, need it for the benchmark. Make it or mend keys.")
    return sha256_of(path)


def _error(cost: Cost) -> str:
    return (cost.message or f"ended with code {cost.code}") if cost.code else ""


def dice_on(pred: Path, ref: Path, label_table: Path) -> dict[int, float | None]:
    """Both maps are read through the table, so that every source id counts as its label."""
    table = read_label_table(label_table).written
    maps = [read_label_map(path) for path in (pred, ref)]
    found, known = (table.remap(volume.data, volume.source) for volume in maps)
    dice = dice_of_structures(found, known, table)
    return {id_: None if math.isnan(value) else value for id_, value in dice.items()}


@lru_cache
def commit() -> str:
    """The commit of this checkout, with `+` where the package differs from it."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + ("+" if _git("status", "--porcelain", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return f"{version('seg-prior')} (no checkout)"


def _git(*words: str) -> str:
    command = ["git", "-C", str(Path(__file__).parents[1]), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@lru_cache
def machine(threads: int) -> str:
    """CPU, cores, threads and torch, for people."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = re.findall(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE)
        model = names[0] if names else model
    asked = f"{threads} threads" if threads else "as many threads as torch takes"
    return f"{model}, {os.cpu_count()} cores, {asked}, torch {version('torch')}"
