"""`python -m seg_prior` is `seg-prior`, so that `torchrun -m seg_prior` works."""

from __future__ import annotations

import atexit
import io
import os
import sys
from contextlib import suppress
from typing import NoReturn


def main() -> None:
    """Run the command line of this process and leave with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name of any bytes is shown, spelt out
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        from seg_prior.cli.app import main as run
    except KeyboardInterrupt:
        print("seg-prior: interrupted.", file=sys.stderr)
        sys.exit(130)
    _leave(run(sys.argv[1:]))


def _leave(code: int) -> NoReturn:
    """End this process, not object by object: libtorch's take half a second of CPU time."""
    with suppress(OSError):  # a full disk or a closed pipe is Python's to tell
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
