"""Headless Chromium, driven over its DevTools protocol: open a page, look, click, take a picture."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.e2e.driving import wait_until

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
]


def program() -> str:
    """Path of Chromium. Where it is missing the browser tests are skipped and say so; in CI that is a failure."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        missing = "browser tests not run: no Chromium here (Debian, Ubuntu: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@contextmanager
def browser(profile: Path) -> Iterator[str]:
    """A browser with an empty profile; yields the address of its DevTools."""
    with (profile.parent / "chromium.log").open("wb") as log:
        process = subprocess.Popen([program(), *FLAGS, f"--user-data-dir={profile}"], stdout=log, stderr=log)
    try:
        port = profile / "DevToolsActivePort"
        wait_until(lambda: port.is_file() and port.read_text().count("\n"), 60, "Chromium does not start")
        yield f"http://127.0.0.1:{port.read_text().splitlines()[0]}"
    finally:
        process.terminate()
        process.wait(20)


class Page:
    """One tab. What it asks of the network and complains of is kept."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._id = socket, 0
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a DevTools method and wait for its answer; events on the way are noted."""
        self._id += 1
        self._socket.send(json.dumps({"id": self._id, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == self._id:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message.get("method", ""), message.get("params", {}))

    def _note(self, event: str, given: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(str(given["exceptionDetails"].get("exception", given["exceptionDetails"]))[:500])
        elif event == "Runtime.consoleAPICalled" and given["type"] in ("error", "assert"):
            self.complaints.append(str(given["args"])[:500])
        elif event == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.complaints.append(f"{given['entry']['text']} {given['entry'].get('url', '')}"[:500])

    def open(self, url: str, width: int = 1280, height: int = 900) -> None:
        """Load a page at this size of the window, and wait until it is loaded."""
        self.size(width, height)
        self.call("Page.navigate", url=url)
        wait_until(lambda: self.value("document.readyState") == "complete" and self.value("location.href") != "about:blank", 60, url)

    def size(self, width: int, height: int) -> None:
        """Set the size of the window in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def value(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self) -> str:
        """What a reader sees as text."""
        return str(self.value("document.body.innerText"))

    def click(self, label: str, seconds: float = 60) -> None:
        """Wait for a button or link whose text is `label` and that stands still, and press it with the mouse, in its middle."""
        find = f"""(() => {{
            const found = [...document.querySelectorAll('button, a, [role=button], [role=menuitem], [role=option]')]
                .filter(e => e.innerText.trim() === {json.dumps(label)} && e.getBoundingClientRect().width > 0 && !e.disabled).at(-1);
            if (!found) return null;
            found.scrollIntoView({{block: 'center', behavior: 'instant'}});
            const box = found.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
            return found.contains(document.elementFromPoint(x, y)) ? [x, y] : null;
        }})()"""
        seen: list[Any] = [None]

        def still() -> Any:
            seen.append(self.value(find))
            return seen[-1] if seen[-1] == seen[-2] else None

        x, y = wait_until(still, seconds, f"no button '{label}' to press")
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def fill(self, field: str, text: str, seconds: float = 60) -> None:
        """Wait for a field of a form, given as a JavaScript expression, and type `text` in place of what it holds."""
        focused = f"(() => {{ const found = {field}; found?.focus(); found?.select(); return document.activeElement === (found ?? 0); }})()"
        wait_until(lambda: self.value(focused), seconds, f"no field {field} to fill in")
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def picture(self, path: Path, whole: bool = False) -> Path:
        """Save a PNG of the window, or of the whole page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def outside(self) -> list[str]:
        """Requests that left this machine."""
        self.value("1")  # takes in the events that wait
        addresses = [urlsplit(url) for url in self.requests]
        schemes = ("data", "file", "blob", "about", "chrome")
        return [one.geturl() for one in addresses if one.scheme not in schemes and one.hostname not in ("127.0.0.1", "localhost")]


@contextmanager
def new_page(devtools: str) -> Iterator[Page]:
    """An empty tab of its own."""
    target = httpx.put(f"{devtools}/json/new?about:blank", trust_env=False).json()
    # No pings: a tab that nobody reads for a while holds its events back, and the answers to pings with them.
    with connect(target["webSocketDebuggerUrl"], max_size=None, proxy=None, ping_interval=None) as socket:
        page = Page(socket)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        yield page
    httpx.get(f"{devtools}/json/close/{target['id']}", trust_env=False)
    time.sleep(0.1)
