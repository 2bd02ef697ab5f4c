"""The settings of the pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from seg_prior.config.base import FrozenModel
from seg_prior.config.runtime import RuntimeConfig


class AdaptConfig(RuntimeConfig):
    """`pipelines/adapt_to_dataset.py`: a data set in, models, segmentations and a page out.

    Attributes:
        name: Of the data set, on the page.
        data: Folder that `images` and `labels` lie in.
        images, labels: Patterns in `data`; paired by subject.
        out: Folder to write to.
        header_spacing_mm: What the headers should say of the voxels' spacing, where they are wrong.
        shares: Of the subjects whose label maps train the prior, whose unlabelled images choose
            Gaussians and train the locator, and who are scored.
        scored: Names of the scored subjects, where they are settled; `shares` deals the others.
        prior: Settings of `train-prior` that override the proposed ones.
        locator: Settings of `train-locator`, which is trained where scans are cut like the maps.
        refine: What counts as the data set's refinement; the other one has its row, too. The climb
            of full follows the likelihood: it finds how far a stripped organ is from the mean one,
            and stretches an organ amid other tissue over its neighbours.
    """

    name: str
    data: Path
    images: str
    labels: str
    out: Path
    header_spacing_mm: tuple[float, float, float] | None = None
    shares: tuple[float, float, float] = (0.5, 0.2, 0.3)
    scored: tuple[str, ...] = ()
    prior: dict[str, Any] = {}
    locator: dict[str, Any] = {}
    refine: Literal["fast", "full"] = "fast"


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
