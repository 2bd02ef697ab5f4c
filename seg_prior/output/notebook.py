"""What a result is in a notebook: a table of its volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seg_prior.errors import ExtraError
from seg_prior.inference.label_volumes import LabelVolume
from seg_prior.inference.prediction import Prediction
from seg_prior.output.layout import VOLUME_COLUMNS
from seg_prior.output.sides import Written
from seg_prior.quality.verdict import Quality

if TYPE_CHECKING:
    import pandas as pd


def volumes_frame(result: Prediction, quality: Quality) -> pd.DataFrame:
    """The table of volumes that `segment --volumes` writes, one row a label, as numbers.

    Raises:
        ExtraError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ExtraError(
            "to_dataframe: found no pandas, need it for a table. "
            "Run: pip install 'seg-prior[notebook]'"
        ) from error
    rows = [_row(record, quality) for record in Written.of(result, merge_sides=False).volumes]
    frame = pd.DataFrame(rows, columns=list(VOLUME_COLUMNS))
    return frame.astype({"index": "Int64"})


def _row(record: LabelVolume, quality: Quality) -> tuple[Any, ...]:
    z = quality.volume_z.get(record.name)
    return record.id, record.name, *record.sizes_mm3, record.touches_edge, z, quality.verdict
