"""What a person should know of a result beside quality control's findings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from seg_prior.core.labels import LabelTable
from seg_prior.core.volume import Volume
from seg_prior.errors import few
from seg_prior.inference.bias_field import BiasField
from seg_prior.inference.predictor import Predictor
from seg_prior.registration.laterality import MIRRORED


def remarks_of(
    predictor: Predictor,
    volumes: Sequence[Volume],
    divided: BiasField | None,
    is_there: Collection[int],
) -> tuple[str, ...]:
    """One line each.

    Args:
        predictor: What read the scan.
        volumes: The scan, and its further images.
        divided: The bias field that the scan's intensities were divided by, if any.
        is_there: Indices of the labels that are the likeliest somewhere.
    """
    return (
        *_of_files(volumes),
        *_of_model(predictor),
        *_of_bias(divided),
        *_of_labels(predictor.label_table, is_there),
    )


def _of_files(volumes: Sequence[Volume]) -> Iterator[str]:
    scan, *contrasts = volumes
    yield from scan.warnings
    for one in contrasts:
        yield from (f"{one.source}: {text}" for text in one.warnings)


def _of_model(predictor: Predictor) -> Iterator[str]:
    if predictor.is_mirrored:
        yield f"{predictor.config.model}: {MIRRORED}"


def _of_bias(divided: BiasField | None) -> Iterator[str]:
    if divided is not None:
        yield (
            f"one tissue was {divided.ratio:.2f} times as bright in one place as in another; "
            "read again without this bias field"
        )


def _of_labels(table: LabelTable, is_there: Collection[int]) -> Iterator[str]:
    """Structures that are counted as 0 mm^3."""
    names = [
        label.name
        for index, label in enumerate(table.labels)
        if label.is_structure and index not in is_there
    ]
    if names:
        yield (
            f"counted as 0 mm3: {few(names)}; nowhere the likeliest label, by too large voxels, a "
            "field of view without it or a wrong result"
        )
