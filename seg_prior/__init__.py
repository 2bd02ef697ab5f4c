"""Segment 3-D biomedical volumes with an anatomical prior learned from label maps alone."""

__version__ = "0.1.0"
