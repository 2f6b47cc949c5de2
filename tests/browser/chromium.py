"""Chromium through ChromeDriver (WebDriver, w3.org/TR/webdriver2), without a library of its own."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# It may not call its makers.
_OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
]  # fmt: skip


class Browser:
    """A session of a browser. Sizes are in CSS pixels."""

    def __init__(self, base: str, session: str) -> None:
        self._base = f"{base}/session/{session}"

    def open(self, path: Path) -> None:
        call("POST", f"{self._base}/url", {"url": path.as_uri()})

    def emulate(self, width: int, height: int, *, dark: bool = False) -> None:
        """Be a screen of this size, which prefers dark colours, or not."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._devtools("Emulation.setDeviceMetricsOverride", metrics)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", {"features": [feature]})

    def run(self, script: str) -> Any:
        """What a function body returns in the page."""
        return call("POST", f"{self._base}/execute/sync", {"script": script, "args": []})

    def screenshot(self) -> bytes:
        """The visible part of the page as PNG."""
        return base64.b64decode(call("GET", f"{self._base}/screenshot"))

    def pdf(self) -> bytes:
        return base64.b64decode(call("POST", f"{self._base}/print", {}))

    def log(self) -> list[str]:
        """What the page said on its console, such as about what it may not load."""
        entries = call("POST", f"{self._base}/se/log", {"type": "browser"})
        return [str(entry["message"]) for entry in entries]

    def _devtools(self, command: str, parameters: dict[str, Any]) -> None:
        body = {"cmd": command, "params": parameters}
        call("POST", f"{self._base}/goog/cdp/execute", body)


def call(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["value"]


@contextmanager
def browser(directory: Path) -> Iterator[Browser]:
    """A browser with a fresh profile below ``directory``."""
    with subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as driver:
        try:
            assert driver.stdout is not None
            said = next(line for line in driver.stdout if "successfully on port" in line)
            port = re.findall(r"on port (\d+)", said)[0]
            base = f"http://127.0.0.1:{port}"
            options = {"args": [*_OPTIONS, f"--user-data-dir={directory}/profile"]}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options}
            wanted["goog:loggingPrefs"] = {"browser": "ALL"}
            session = call("POST", f"{base}/session", {"capabilities": {"alwaysMatch": wanted}})
            try:
                yield Browser(base, session["sessionId"])
            finally:
                call("DELETE", f"{base}/session/{session['sessionId']}")
        finally:
            driver.terminate()
