"""`python -m seg_prior` is `seg-prior`, so that `torchrun -m seg_prior` works."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line of this process and leave with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name of any bytes is shown, spelt out
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        from seg_prior.cli.app import main as run
    except KeyboardInterrupt:
        print("seg-prior: interrupted.", file=sys.stderr)
        sys.exit(130)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
