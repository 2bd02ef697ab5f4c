"""How far a command is: a bar on a terminal, else a line every few seconds of work."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

WORDS_EVERY_S = 5.0
"""Between two lines, where there is no terminal."""

Item = TypeVar("Item")


def progress(
    items: Iterable[Item],
    log: logging.Logger,
    what: str,
    *,
    total: int,
    first: int = 0,
    is_slow: bool = False,
    told: Callable[[], str] = str,
) -> Iterator[Item]:
    """Go through items and say on standard error how far; nothing where `log` says no INFO.

    Args:
        items: What is worked through.
        log: Whose level decides.
        what: The items are, as "scans".
        total: How many there are, `first` included.
        first: How many were done before.
        is_slow: Whether one item takes so long that lines have to come meanwhile; from a thread,
            so not where processes are forked.
        told: What else there is to say.
    """
    if not log.isEnabledFor(logging.INFO):
        yield from items
    elif sys.stderr.isatty():
        from tqdm import tqdm

        bar = tqdm(items, desc=what, initial=first, total=total)
        for item in bar:
            yield item
            bar.set_postfix_str(told(), refresh=False)
    else:
        words = _Words(what, total, first, told)
        with words.beating() if is_slow else nullcontext():
            for item in items:
                yield item
                words.done += 1
                words.say_if_due()


class _Words:
    """Lines of how far it is, each at least `WORDS_EVERY_S` after the one before."""

    def __init__(self, what: str, total: int, first: int, told: Callable[[], str]) -> None:
        self.what, self.total, self.first, self.told = what, total, first, told
        self.done = first
        self.began_s = self.said_s = time.monotonic()

    def say_if_due(self) -> None:
        """One line, unless the last one is too fresh."""
        now_s = time.monotonic()
        if now_s - self.said_s < WORDS_EVERY_S:
            return
        self.said_s = now_s
        gone_s, num = now_s - self.began_s, self.done - self.first
        line = f"{self.what}: {self.done} of {self.total} after {_clock(gone_s)}"
        if num > 0 and self.done < self.total:
            line += f", about {_clock(gone_s / num * (self.total - self.done))} left"
        more = self.told()
        print(f"{line}; {more}" if more else line, file=sys.stderr, flush=True)

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Say it also while an item is worked on."""
        is_over = threading.Event()

        def beat() -> None:
            while not is_over.wait(WORDS_EVERY_S / 10):
                self.say_if_due()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


def _clock(time_s: float) -> str:
    """Seconds as people say them: 42 s, 5 min, 2.1 h."""
    if time_s < 99:
        return f"{time_s:.0f} s"
    return f"{time_s / 60:.0f} min" if time_s < 5940 else f"{time_s / 3600:.1f} h"
