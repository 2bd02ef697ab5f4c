"""Figures in messages: rounded, but never so far that two that differ look the same."""

from __future__ import annotations

_MAX_DIGITS = 9


def told_apart(*values: float, digits: int = 2) -> list[str]:
    """Values with so many significant digits, and more where two that differ would read alike."""
    for more in range(digits, _MAX_DIGITS):
        shown = [f"{value:.{more}g}" for value in values]
        if len(set(shown)) == len(set(values)):
            return shown
    return [repr(value) for value in values]
