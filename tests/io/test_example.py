"""A real brain to try the package on, or one line that says where to get it."""

from pathlib import Path

import nibabel as nib
import pytest

from seg_prior.cli.app import main
from seg_prior.commands import demo
from seg_prior.io import example


def test_without_nilearn_one_line_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(example, "find_spec", lambda name: None)
    assert main(["demo", str(tmp_path / "out"), "--brain"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("Run: pip install 'seg-prior[example]'")
    assert not (tmp_path / "out").exists()


def test_the_template_is_a_stripped_brain_of_1_mm() -> None:
    pytest.importorskip("nilearn", reason="no nilearn; pip install it")
    image = nib.load(example.brain_template())
    assert image.shape == (197, 233, 189)
    assert image.header.get_zooms() == (1.0, 1.0, 1.0)
    assert image.dataobj[0, 0, 0] == 0


@pytest.mark.slow
def test_the_brain_has_the_volumes_that_are_promised(
    tmp_path: Path, talk: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("nilearn", reason="no nilearn; pip install it")
    result = demo.run(demo.Config(out=tmp_path / "out", brain=True, threads=1))
    assert [page.is_file() for page in result.pictures] == [True]
    rows = [line.split() for line in talk.messages]
    found = {row[0]: row[1:] for row in rows if row and row[0] in example.TEMPLATE_MM3}
    assert found.keys() == example.TEMPLATE_MM3.keys()
    for here, expected in found.values():
        assert float(here) == pytest.approx(float(expected), rel=0.02)
    assert talk.messages[-1].startswith("open in a browser: file://")  # no screen under pytest
