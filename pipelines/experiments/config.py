"""The settings of the pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_prior.config.base import FrozenModel
from seg_prior.config.runtime import RuntimeConfig


class BenchmarkMethod(FrozenModel):
    """One way to segment.

    Attributes:
        name: In tables and pictures.
        model: Checkpoint, in the benchmark's `models`; None is the Gaussian mixture without
            anatomy.
        segment: Settings of `segment`, where they differ from its defaults.
    """

    name: str
    model: Path | None = None
    segment: dict[str, Any] = {}


class BenchmarkDataset(FrozenModel):
    """Scans with references.

    Attributes:
        name: In tables and file names.
        images, references: Patterns in the benchmark's `data`; paired by subject.
        label_table: Of the references and of every model, in the benchmark's `tables`.
    """

    name: str
    images: str
    references: str
    label_table: Path


class BenchmarkConfig(RuntimeConfig):
    """`pipelines/benchmark.py`: every method on every data set in, a page of tables out.

    Attributes:
        data, models, tables: Folders that data sets, checkpoints and label tables lie in.
        cache: Folder of what has been measured; each scan and method is measured once.
        page: Markdown file; only what stands in the marked block of a data set is replaced.
        methods, datasets: What to measure.
    """

    data: Path
    models: Path
    tables: Path
    cache: Path
    page: Path
    methods: list[BenchmarkMethod]
    datasets: list[BenchmarkDataset]


class FamiliesConfig(RuntimeConfig):
    """`pipelines/families.py`: label maps and scans in, a table of all families out.

    Attributes:
        data: Folder that label maps and scans lie in.
        maps: Label maps, as a folder or a pattern in it.
        holdout: Subjects of these whom no prior sees; reconstruction is measured on them.
        images, references: Scans and their label maps, in the same forms, paired by subject.
        scored: Subjects whose scans are segmented; those of `holdout` if none are named.
        out: Folder for checkpoints, scores and the table.
        base: Settings of `train-prior`, as a YAML file, if its defaults are not enough.
        prior: More of them, which have the last word.
    """

    data: Path
    maps: str
    holdout: list[str]
    images: str
    references: str
    scored: list[str] = []
    out: Path
    base: Path | None = None
    prior: dict[str, Any] = {}
