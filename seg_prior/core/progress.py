"""Whether progress bars are shown: where talk is, and a terminal."""

from __future__ import annotations

import logging


def is_silent(log: logging.Logger) -> bool | None:
    """What tqdm's `disable` is for a module that talks to `log`; None is silent off a terminal."""
    return None if log.isEnabledFor(logging.INFO) else True
