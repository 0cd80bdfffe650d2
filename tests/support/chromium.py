"""A real Chromium without a window, driven through the DevTools protocol over a pipe."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from support.lacking import installed_by_apt

SECONDS = 120

_CODES = {"Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Delete": 46}


def program() -> str | None:
    """Path of the browser; None where none is installed."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def install_chromium() -> None:
    """Installs it where that is wanted; ends the test where there is none."""
    installed_by_apt("Chromium", lambda: program() is not None, "SBP_TEST_CHROMIUM", "chromium")


class Chromium:
    """A browser of somebody with a mouse or with a touch screen; `page` opens pages in it."""

    def __init__(self, *, touch: bool = False) -> None:
        self.folder = tempfile.mkdtemp(prefix="chromium-")
        (to_browser, self.writing), (self.reading, from_browser) = os.pipe(), os.pipe()
        options = "--headless --no-sandbox --disable-gpu --hide-scrollbars --remote-debugging-pipe"
        # Of a headless browser on a server neither a mouse nor a touch screen can be taken for granted.
        hover, pointer = (1, 2) if touch else (2, 4)
        options += f" --blink-settings=primaryHoverType={hover},availableHoverTypes={hover}"
        options += f",primaryPointerType={pointer},availablePointerTypes={pointer}"
        options += f" --user-data-dir={self.folder}"
        # Chromium reads from descriptor 3 and writes to 4.
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" {options} 3<&{to_browser} 4>&{from_browser}', str(program())],
            pass_fds=(to_browser, from_browser),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.number, self.left, self.events = 0, b"", []

    def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Does one command and returns its result; events that come in between go to `events`."""
        self.number += 1
        command = {"id": self.number, "method": method, "params": parameters}
        os.write(self.writing, json.dumps(command | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            message = self.listen()
            if message.get("id") == self.number:
                assert "error" not in message, (method, message["error"])
                return message["result"]

    def listen(self) -> dict[str, Any]:
        """The next message; an event is added to `events`."""
        while b"\0" not in self.left:
            ready, _, _ = select.select([self.reading], [], [], SECONDS)
            received = os.read(self.reading, 1 << 20) if ready else b""
            assert received, "Chromium does not answer"
            self.left += received
        message, self.left = self.left.split(b"\0", 1)
        told = json.loads(message)
        if "method" in told:
            self.events.append(told)
        return told

    def page(self, file: Path, width: int = 1280, *, dark: bool = False, scripts: bool = True) -> Page:
        """Opens a page from disk and waits until it is loaded."""
        return Page(self, file, width, dark, scripts)

    def close(self) -> None:
        """Ends the browser."""
        self.send("Browser.close")
        self.process.wait(SECONDS)
        os.close(self.writing)
        os.close(self.reading)
        shutil.rmtree(self.folder, ignore_errors=True)


class Page:
    """An open page."""

    def __init__(self, browser: Chromium, file: Path, width: int, dark: bool, scripts: bool) -> None:
        self.browser = browser
        self.target = browser.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.send("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        self.resize(width)
        self.color_scheme(dark)
        self.send("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.send("Page.navigate", url=file.resolve().as_uri())
        while not self.events("Page.loadEventFired"):
            browser.listen()

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the page; open ones go on drawing."""
        self.browser.send("Target.closeTarget", targetId=self.target)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Does one command of the page."""
        return self.browser.send(method, self.session, **parameters)

    def events(self, method: str) -> list[dict[str, Any]]:
        """What the browser told about this page since it was opened."""
        told = [event for event in self.browser.events if event.get("sessionId") == self.session]
        return [event["params"] for event in told if event["method"] == method]

    def errors(self) -> list[str]:
        """Exceptions, complaints of scripts, and what the page's policy forbade."""
        thrown = [str(event["exceptionDetails"]) for event in self.events("Runtime.exceptionThrown")]
        told = self.events("Runtime.consoleAPICalled")
        logged = [event["entry"] for event in self.events("Log.entryAdded")]
        return [
            *thrown,
            *(str(event["args"]) for event in told if event["type"] in ("error", "warning")),
            *(entry["text"] for entry in logged if entry["level"] in ("error", "warning")),
        ]

    def value(self, expression: str) -> Any:
        """The value of an expression in the page, awaited where it is a promise."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def frame(self) -> None:
        """Waits until what was asked for is drawn."""
        self.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def resize(self, width: int) -> None:
        """Gives the page another width in pixels."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)

    def color_scheme(self, dark: bool) -> None:
        """Prefers dark or light."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """One event of the mouse: mouseMoved, mousePressed, mouseReleased, or mouseWheel."""
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def swipe(self, x: float, y: float, up: int) -> None:
        """A finger that goes up by so many pixels."""
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        for moved in range(10, up + 1, 10):
            self.send("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{"x": x, "y": y - moved}])
            self.frame()
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def type(self, text: str) -> None:
        """Text from the keyboard."""
        self.send("Input.insertText", text=text)

    def key(self, name: str) -> None:
        """A key without a character: Tab, Delete, or an arrow."""
        for kind in ("rawKeyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=name,
                code=name,
                windowsVirtualKeyCode=_CODES[name],
            )

    def screenshot(self, file: Path, clip: dict[str, float] | None = None) -> None:
        """The whole page as a png, or a part of it (x, y, width, height)."""
        part = {"clip": {**clip, "scale": 1}} if clip else {}
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True, **part)
        file.write_bytes(base64.b64decode(shot["data"]))
