"""What a command says on the terminal, and what it keeps to itself."""

import logging
import warnings

import pytest

from seg_prior.cli.talk import talking


@pytest.mark.parametrize(("level", "shown"), [(logging.INFO, ""), (logging.DEBUG, "a sum of nan")])
def test_warnings_of_libraries_are_not_on_the_terminal_unless_asked_for(
    capsys: pytest.CaptureFixture[str], level: int, shown: str
) -> None:
    with talking(level), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("a sum of nan", RuntimeWarning, stacklevel=1)
    captured = capsys.readouterr()
    assert captured.err == ""
    assert shown in captured.out
    assert bool(captured.out) is bool(shown)
