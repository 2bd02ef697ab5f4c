"""A page is opened where somebody sits at a screen, and nowhere else."""

import sys
import webbrowser
from pathlib import Path

import pytest

from seg_prior.report.browser import has_screen, open_page


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the browser was asked for."""
    asked: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: asked.append(url) or True)
    return asked


def sit(monkeypatch: pytest.MonkeyPatch, is_terminal: bool, display: str | None) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if display is not None:
        monkeypatch.setenv(display, ":0")


@pytest.mark.parametrize("display", ["DISPLAY", "WAYLAND_DISPLAY"])
def test_at_a_screen_the_page_is_opened(
    monkeypatch: pytest.MonkeyPatch, opened: list[str], tmp_path: Path, display: str
) -> None:
    sit(monkeypatch, True, display)
    assert has_screen()
    assert open_page(tmp_path / "a page.html")
    assert opened == [(tmp_path / "a page.html").as_uri()]


@pytest.mark.parametrize(("is_terminal", "display"), [(False, "DISPLAY"), (True, None)])
def test_in_a_log_or_without_a_display_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
    opened: list[str],
    tmp_path: Path,
    is_terminal: bool,
    display: str | None,
) -> None:
    sit(monkeypatch, is_terminal, display)
    assert not open_page(tmp_path / "page.html")
    assert opened == []
