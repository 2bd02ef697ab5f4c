"""How far a command is: words where there is no terminal, silence where none are asked for."""

import logging
import time

import pytest

from seg_prior.core import progress as module
from seg_prior.core.progress import progress

LOG = logging.getLogger("seg_prior.test_progress")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORDS_EVERY_S", 0.05)
    LOG.setLevel(logging.INFO)


def test_off_a_terminal_a_line_comes_every_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in progress(range(4), LOG, "scans", total=5, first=1, told=lambda: "loss 0.5"):
        time.sleep(0.06)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "scans: 2 of 5 after 0 s, about 0 s left; loss 0.5"
    assert lines[-1] == "scans: 5 of 5 after 0 s; loss 0.5"
    assert len(lines) == 4


def test_a_slow_item_is_spoken_of_while_it_lasts(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in progress([1], LOG, "scans", total=1, is_slow=True):
        time.sleep(0.2)
        assert capsys.readouterr().err.startswith("scans: 0 of 1 after 0 s\n")


def test_quick_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(3), LOG, "scans", total=3)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_where_talk_is_off_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    LOG.setLevel(logging.WARNING)
    for _ in progress([1], LOG, "scans", total=1, is_slow=True):
        time.sleep(0.12)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert list(progress(range(3), LOG, "scans", total=3)) == [0, 1, 2]
    assert "scans: 100%" in capsys.readouterr().err
