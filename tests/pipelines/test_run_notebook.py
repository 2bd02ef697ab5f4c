"""The notebook in the docs runs, and the file has what its cells give."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def outputs(path: Path) -> dict[str, str]:
    """Cell id -> what it gave, as HTML where it has it and as text elsewhere."""
    nbformat = pytest.importorskip("nbformat")
    given = {}
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", "")})
            given[cell["id"]] = data.get("text/html", data.get("text/plain", ""))
    return given


def test_the_notebook_was_run() -> None:
    given = outputs(NOTEBOOK)
    assert list(given) == ["load", "segment", "table", "posterior", "dice", "save"]
    assert given["segment"].count("<img ") == 18
    assert "Traceback" not in NOTEBOOK.read_text("utf-8")
    assert str(ROOT) not in NOTEBOOK.read_text("utf-8")


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    script, out = ROOT / "pipelines" / "run_notebook.py", tmp_path / "notebook.ipynb"
    done = subprocess.run(
        [sys.executable, script, NOTEBOOK, "--out", out],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    then, now = outputs(NOTEBOOK), outputs(out)
    assert list(now) == list(then)
    for cell in ("load", "posterior", "save"):
        assert now[cell] == then[cell], "run python pipelines/run_notebook.py docs/notebook.ipynb"


def test_a_notebook_that_fails_is_not_written(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbclient")
    bad = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(bad, tmp_path / "bad.ipynb")
    before = (tmp_path / "bad.ipynb").read_bytes()
    script = ROOT / "pipelines" / "run_notebook.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path / "bad.ipynb"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stderr
    assert (tmp_path / "bad.ipynb").read_bytes() == before
