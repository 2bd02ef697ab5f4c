"""What a command costs: `python stopwatch.py COMMAND...` prints it as JSON.

A process of its own, because what the operating system reports as a child's peak memory is never
less than the memory of the process that started it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple


class Cost(NamedTuple):
    """What a finished command cost, all its processes and threads together.

    Attributes:
        code: Its exit code.
        message: The last line it wrote to standard error.
        wall_s, cpu_s: Elapsed time, and user plus system time.
        peak_mb: Resident memory of its largest process, in 10**6 bytes.
    """

    code: int
    message: str
    wall_s: float
    cpu_s: float
    peak_mb: float


def measure(command: Sequence[str]) -> Cost:
    """Run a command under a stopwatch in a fresh process."""
    watch = [sys.executable, __file__, *command]
    return Cost(**json.loads(subprocess.run(watch, stdout=subprocess.PIPE, check=True).stdout))


def _watch(command: Sequence[str]) -> Cost:
    start = time.perf_counter()
    done = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    wall_s = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    message = (done.stderr.strip().splitlines() or [""])[-1]
    # Linux counts kilobytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    cpu_s = used.ru_utime + used.ru_stime
    return Cost(done.returncode, message, wall_s, cpu_s, used.ru_maxrss * unit / 1e6)


if __name__ == "__main__":
    print(json.dumps(_watch(sys.argv[1:])._asdict()))
