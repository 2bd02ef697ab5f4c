"""A headless Chromium that opens one page and says what it did there."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.sync.client import ClientConnection, connect

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--remote-debugging-port=0",
    "--use-gl=angle",  # WebGL 2 without a graphics card
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--window-size=1280,900",
)
PATIENCE_S = 300
READY = "document.documentElement?.dataset.viewer"


class LeavingError(Exception):
    """The page that was asked is on its way out."""


class Browser:
    """One tab, spoken to over the DevTools protocol.

    Attributes:
        requests: Addresses that pages asked for, but for what they hold themselves.
        complaints: Errors and warnings of the console, and exceptions.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def call(self, method: str, **params: Any) -> Any:
        """Send one command; its answer."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if message.get("id") == self._number:
                error = message.get("error", {}).get("message", "")
                if "navigated" in error or "context was destroyed" in error:
                    raise LeavingError(error)
                assert not error, message
                return message["result"]
            self._note(message)

    def open(self, page: Path) -> float:
        """Open a page and wait until it has loaded; seconds."""
        start = time.perf_counter()
        self.call("Page.navigate", url=page.as_uri())
        self.wait_for("document.readyState === 'complete'")
        return time.perf_counter() - start

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def set_value(self, selector: str, value: object, event: str = "input") -> None:
        """Give a slider or a list a value, as a person does: with the event that follows."""
        self.evaluate(
            f"{{ const s = document.querySelector('{selector}'); s.value = '{value}';"
            f" s.dispatchEvent(new Event('{event}')); }}"
        )

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true; while a page leaves, none is."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._is_true(expression):
            assert time.monotonic() < deadline, f"{expression} stayed false: {self.complaints}"
            time.sleep(0.05)

    def _is_true(self, expression: str) -> bool:
        try:
            return bool(self.evaluate(expression))
        except LeavingError:
            return False

    def box(self, selector: str) -> dict[str, float]:
        """Where an element lies on the page, in CSS pixels."""
        script = (
            f"(() => {{ const b = document.querySelector({selector!r}).getBoundingClientRect();"
            " return {x: b.x + scrollX, y: b.y + scrollY, width: b.width, height: b.height}; })()"
        )
        return dict(self.evaluate(script))

    def picture(self, selector: str | None = None) -> bytes:
        """A PNG of an element, or of the whole page."""
        clip = {"clip": self.box(selector) | {"scale": 1}} if selector else {}
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True, **clip)
        return base64.b64decode(answer["data"])

    def pixels(self, selector: str = "#canvas") -> NDArray[np.float64]:
        """(H, W, 3) what an element looks like, 0..1."""
        from matplotlib.image import imread

        return np.asarray(imread(io.BytesIO(self.picture(selector)), format="png")[..., :3])

    def open_viewer(self, page: Path) -> None:
        """Open a page, nothing noted yet, and wait until its viewer is ready."""
        self.requests.clear()
        self.complaints.clear()
        self.open(page)
        self.wait_for(f"{READY} !== undefined")
        assert self.evaluate(READY) == "ready", self.complaints

    def move_mouse(self, x: float, y: float) -> None:
        """Move the mouse to a place of the page that is in view."""
        scroll = self.evaluate("[scrollX, scrollY]")
        at = {"x": x - scroll[0], "y": y - scroll[1]}
        self.call("Input.dispatchMouseEvent", type="mouseMoved", **at)

    def _note(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("data:", "blob:")):
                self.requests.append(url)
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(str(params["args"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(str(params["entry"]))


@contextlib.contextmanager
def start_browser(profile: Path) -> Iterator[Browser]:
    """A browser with a fresh profile; the test is skipped where there is no Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on the PATH")
    with (profile.parent / "chromium.log").open("w") as log:
        process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"], stdout=log, stderr=log
        )
        try:
            with connect(_address(profile, process), max_size=None) as socket:
                browser = Browser(socket)
                for domain in ("Page", "Runtime", "Log", "Network"):
                    browser.call(f"{domain}.enable")
                yield browser
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE_S)


def _address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """The tab's socket, once the browser has written on which port it listens."""
    from urllib.request import urlopen

    port_file = profile / "DevToolsActivePort"
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None, "chromium ended at once"
        assert time.monotonic() < deadline, "chromium does not answer"
        with contextlib.suppress(OSError, ValueError, StopIteration):
            port = int(port_file.read_text().splitlines()[0])
            with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=5) as answer:
                tabs = json.load(answer)
            return str(next(t["webSocketDebuggerUrl"] for t in tabs if t["type"] == "page"))
        time.sleep(0.1)
