"""Opening a page in the browser, where somebody sits at a screen."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path


def has_screen() -> bool:
    """Whether somebody is likely to see a window: a terminal, and on Linux a display."""
    is_seen = bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))
    return sys.stdout.isatty() and (is_seen or sys.platform != "linux")


def open_page(path: Path) -> bool:
    """Open a page in the browser; whether that was done, which needs a screen and a browser."""
    return has_screen() and webbrowser.open(path.resolve().as_uri())
