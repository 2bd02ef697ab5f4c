"""Segment 3-D biomedical volumes with an anatomical prior learned from label maps alone."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seg_prior.api import Segmentation as Segmentation
    from seg_prior.api import Segmenter as Segmenter

# A library is silent until somebody listens.
logging.getLogger(__name__).addHandler(logging.NullHandler())

__version__ = "0.1.0"
__all__ = ["Segmentation", "Segmenter", "__version__"]


def __getattr__(name: str) -> Any:
    # The command line imports this package, too, and must not wait for torch.
    if name in ("Segmentation", "Segmenter"):
        from seg_prior import api

        return getattr(api, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
