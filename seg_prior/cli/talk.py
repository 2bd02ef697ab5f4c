"""What a command says while it works: on the terminal, as loud as a person asked for."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Terminal(logging.Handler):
    """Talk on standard output; warnings on standard error, so that a pipe keeps them apart."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        is_warning = record.levelno >= logging.WARNING
        start, stream = ("seg-prior: warning: ", sys.stderr) if is_warning else ("", sys.stdout)
        print(f"{start}{self.format(record)}", file=stream, flush=True)


@contextmanager
def talking(level: int = logging.INFO) -> Iterator[None]:
    """Show what the package logs from a level on, while it lasts.

    What libraries warn of, in words of theirs, is told with what is told least.
    """
    # Of the processes that torchrun starts, one speaks.
    if os.environ.get("RANK", "0") != "0":
        level = logging.CRITICAL
    log, terminal = logging.getLogger("seg_prior"), _Terminal()
    before = log.level
    log.setLevel(level)
    log.addHandler(terminal)

    def tell(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        log.debug("%s: %s", category.__name__, message)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = tell
            yield
    finally:
        log.removeHandler(terminal)
        log.setLevel(before)
