"""What the page of one scan shows, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.grid import Grid
from seg_prior.core.labels import LabelTable

NOT_MEASURED = "not measured"


class Range(NamedTuple):
    """Where a figure usually lies: the middle, and the ends of the reference's central 90 %."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class StructureVolume:
    """How big one label is, beside what is usual.

    Attributes:
        index: In the label table.
        hard_mm3, soft_mm3: Of the label map, and of the posterior.
        calibrated_mm3: Without the bias on synthetic scans; None where that is not known.
        interval_mm3: 90 % credible interval; None where none was computed.
        reference_mm3: Of the model's reference; None where it has none.
        touches_edge: Whether a part may lie outside the image.
    """

    index: int
    hard_mm3: float
    soft_mm3: float
    calibrated_mm3: float | None = None
    interval_mm3: tuple[float, float] | None = None
    reference_mm3: Range | None = None
    touches_edge: bool = False


class Check(NamedTuple):
    """One rule of the quality control.

    Attributes:
        name: What is measured, with its unit.
        value, limit: Found and asked for, as text.
        verdict: PASS, WARN, FAIL, or NOT_MEASURED.
    """

    name: str
    value: str
    limit: str
    verdict: str


class Gaussian(NamedTuple):
    """One component of the intensity model.

    Attributes:
        name: Of its class.
        mean, sd: In units of the normalised image.
        share: Of all voxels that can hold anatomy, 0 to 1.
    """

    name: str
    mean: float
    sd: float
    share: float


@dataclass(frozen=True, eq=False)
class Contrast:
    """One image of the scan, as the intensity model sees it.

    Attributes:
        name: Of its file.
        intensities: (N,) normalised intensity where it shows what can be anatomy.
        gaussians: Fitted to these.
        weight: Of its log likelihood where it was observed, 1 where it is the only one.
    """

    name: str
    intensities: NDArray[np.float32]
    gaussians: tuple[Gaussian, ...]
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class ScanReport:
    """One scan and all that is known of its segmentation.

    Attributes:
        name: Heading of the page.
        grid: Of all (I, J, K) arrays.
        image: (I, J, K), any unit; of several contrasts the first.
        label_map: (I, J, K) label indices, not ids.
        entropy: (I, J, K), in nats.
        prior_map: (I, J, K) label indices of the prior where registration laid it, before it was
            bent to the scan.
        contrasts: At least one; the first is `image`.
        table: The labels.
        volumes: Of the labels that the model writes, without background.
        verdict: PASS, WARN, FAIL or NOT_MEASURED.
        checks: What led to the verdict.
        warnings: One line each.
        facts: Name -> value of what a reader looks up first.
        provenance: Everything that is recorded of the run, for JSON.
        interval_note: What intervals of volumes were measured to hold; empty where there are none.
    """

    name: str
    grid: Grid
    image: NDArray[Any]
    label_map: NDArray[np.integer[Any]]
    entropy: NDArray[np.float32]
    prior_map: NDArray[np.integer[Any]]
    contrasts: tuple[Contrast, ...]
    table: LabelTable
    volumes: tuple[StructureVolume, ...]
    verdict: str
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    facts: Mapping[str, str]
    provenance: Mapping[str, Any]
    interval_note: str = ""
