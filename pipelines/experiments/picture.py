"""Pictures for pages of the repository: JPEG, narrow enough that all stay within 3 MB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from seg_prior.core.labels import LabelTable
from seg_prior.files import atomic_write
from seg_prior.report.overlay import Panel, write_overlay

MAX_WIDTH_PX, QUALITY = 1600, 80


def write_jpeg(path: Path, panels: Sequence[Panel], table: LabelTable, num_columns: int) -> None:
    """Write a sheet of panels, as `write_overlay` lays them out, at most 1600 pixels wide.

    Args:
        path: Ends in .jpg.
        panels, table, num_columns: As of `write_overlay`.
    """
    with TemporaryDirectory() as folder:
        sheet = Path(folder) / "sheet.png"
        write_overlay(sheet, panels, table, num_columns)
        shrink(sheet, path)


def shrink(source: Path, path: Path) -> None:
    """Write a picture again as JPEG, at most 1600 pixels wide."""
    with Image.open(source) as picture, atomic_write(path) as temporary:
        small = picture.convert("RGB")
        small.thumbnail((MAX_WIDTH_PX, small.height), Image.Resampling.LANCZOS)
        small.save(temporary, format="jpeg", quality=QUALITY, optimize=True, progressive=True)
