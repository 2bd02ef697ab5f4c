"""Forms of a label table."""

from __future__ import annotations

from typing import Literal

LabelFormat = Literal["bids", "freesurfer", "itksnap", "slicer", "fsleyes"]
