"""Run a notebook in an empty folder, and write it with what its cells give.

    python pipelines/run_notebook.py docs/notebook.ipynb

A cell that fails ends it, and nothing is written.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

from seg_prior.files import atomic_write


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--out", type=Path, help="another file to write; the notebook itself")
    given = parser.parse_args()
    notebook = nbformat.read(given.notebook, as_version=4)  # type: ignore[no-untyped-call]
    with TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, resources=resources, record_timing=False).execute()
    notebook.metadata["language_info"] = {"name": "python"}  # and not which version ran it
    with atomic_write(given.out or given.notebook) as temporary:
        nbformat.write(notebook, temporary)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
