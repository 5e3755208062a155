"""A real headless Chromium for tests of pages: DevTools' protocol over two pipes, by the standard library alone.

`find()` says which browser there is. `Browser` starts it with a profile of its own; `Tab` opens pages from files, runs
JavaScript in them, presses keys and buttons as a person's hands would (trusted events), and keeps all that the console
was told.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--disable-extensions", "--force-color-profile=srgb", "--remote-debugging-pipe", "about:blank",
)  # fmt: skip
KEYS = {
    "Tab": ("Tab", 9, ""), "Enter": ("Enter", 13, "\r"), "Escape": ("Escape", 27, ""), " ": ("Space", 32, " "),
    "ArrowLeft": ("ArrowLeft", 37, ""), "ArrowUp": ("ArrowUp", 38, ""), "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowDown": ("ArrowDown", 40, ""), "Home": ("Home", 36, ""), "End": ("End", 35, ""),
}  # fmt: skip
"""Key: its code, its number, and what it types."""

DRAWN = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Is kept when the page has been drawn, and has heard that it was scrolled."""
AS_3_AND_4 = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Becomes a browser, which reads commands from descriptor 3 and answers to 4."""


def find() -> str | None:
    """The browser to use: what VENTRAL_BROWSER names, else the first of the usual names on the path; None without."""
    given = os.environ.get("VENTRAL_BROWSER")
    return shutil.which(given) if given else next(filter(None, map(shutil.which, NAMES)), None)


class BrowserError(Exception):
    """The browser answered with an error, died, or did not answer in time."""


class Browser:
    """A browser that runs for the length of a `with`."""

    def __init__(self, program: str, profile: Path):
        self._buffer = b""
        self._last = 0
        self.events: list[dict[str, Any]] = []
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        self._read, self._write = ours_in, ours_out
        self._process = subprocess.Popen(
            [sys.executable, "-IS", "-c", AS_3_AND_4, str(theirs_in), str(theirs_out), program, *FLAGS,
             f"--user-data-dir={profile}"],
            pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(BrowserError, OSError):
            self.call("Browser.close", limit=5)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def call(self, method: str, session: str | None = None, limit: float = 60, **params: Any) -> dict[str, Any]:
        """A command's result; events that come meanwhile are kept. Raises BrowserError."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params, **({"sessionId": session} if session else {})}
        sent = json.dumps(message).encode() + b"\0"
        while sent:
            sent = sent[os.write(self._write, sent) :]
        for answer in self._messages(limit, method):
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                return answer["result"]
        raise AssertionError("unreachable")

    def wait(self, name: str, session: str, limit: float = 60) -> dict[str, Any]:
        """The parameters of the next event of a name. Raises BrowserError where none comes in time."""
        for message in [*self.events]:
            if message["method"] == name and message.get("sessionId") == session:
                self.events.remove(message)
                return message["params"]
        for message in self._messages(limit, name):
            if message.get("method") == name and message.get("sessionId") == session:
                self.events.remove(message)
                return message["params"]
        raise AssertionError("unreachable")

    def _messages(self, limit: float, what: str) -> Iterator[dict[str, Any]]:
        end = time.monotonic() + limit
        while True:
            head, found, rest = self._buffer.partition(b"\0")
            if found:
                self._buffer = rest
                message = json.loads(head)
                if "method" in message:
                    self.events.append(message)
                yield message
                continue
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            got = os.read(self._read, 1 << 20) if ready else b""
            if not got:
                raise BrowserError(f"no answer to {what} within {limit:g} s" if not ready else "the browser has ended")
            self._buffer += got

    @contextlib.contextmanager
    def tab(self, width: int = 1280, height: int = 900, **media: str) -> Iterator[Tab]:
        """A new tab of a size, closed at the end; `media`: `scheme="dark"`, `kind="print"`, `motion="reduce"`."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        one = Tab(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            one.call(f"{domain}.enable")
        one.size(width, height)
        one.media(**media)
        try:
            yield one
        finally:
            self.call("Target.closeTarget", targetId=target)


class Tab:
    """A page in the browser."""

    def __init__(self, browser: Browser, session: str):
        self.browser, self.session, self._scripts = browser, session, True

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command to this tab; its result. Raises BrowserError."""
        return self.browser.call(method, self.session, **params)

    def size(self, width: int, height: int) -> None:
        """Set the window's size, pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def media(self, scheme: str = "light", kind: str = "", motion: str = "reduce") -> None:
        """Set what `@media` sees."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": motion}
        ]  # fmt: skip
        self.call("Emulation.setEmulatedMedia", media=kind, features=features)

    def scripts(self, on: bool) -> None:
        """Let pages run scripts, or not."""
        self._scripts = on
        self.call("Emulation.setScriptExecutionDisabled", value=not on)

    def open(self, page: Path) -> float:
        """Open a file and wait until it is loaded and drawn; the seconds it took."""
        start = time.monotonic()
        self.call("Page.navigate", url=page.absolute().as_uri())
        self.browser.wait("Page.loadEventFired", self.session)
        self.js(DRAWN if self._scripts else "0")
        return time.monotonic() - start

    def js(self, expression: str) -> Any:
        """The value of an expression in the page (promises awaited). Raises BrowserError where it throws."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise BrowserError(json.dumps(found["exceptionDetails"])[:2000])
        return found["result"].get("value")

    def complaints(self) -> list[str]:
        """What the console, the log and uncaught errors have said so far."""
        self.js("0")
        found = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            params = event["params"]
            if event["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(json.dumps(params["args"]))
            elif event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(params["exceptionDetails"]))
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(f"{params['entry']['source']}: {params['entry']['text']}")
        return found

    def requests(self) -> list[str]:
        """The addresses that were asked for, apart from those of data inside the page."""
        self.js("0")
        sent = [
            event["params"]["request"]["url"]
            for event in self.browser.events
            if event["method"] == "Network.requestWillBeSent" and event.get("sessionId") == self.session
        ]
        return [url for url in sent if not url.startswith("data:")]

    # ------------------------------------------------------------------------------------------ a person's hands

    def click(self, selector: str) -> None:
        """Click the middle of the first element that matches."""
        x, y = self.middle(selector)
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def hover(self, selector: str) -> None:
        """Move the pointer over the middle of the first element that matches."""
        self.move(*self.middle(selector))

    def move(self, x: float, y: float) -> None:
        """Move the pointer."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def middle(self, selector: str) -> tuple[float, float]:
        """The middle of the first element that matches, scrolled into view. Raises BrowserError where none is seen."""
        found = self.js(
            f"(async () => {{ const e = document.querySelector({json.dumps(selector)}); if (!e) return null;"
            f"e.scrollIntoView({{block: 'center', inline: 'center', behavior: 'instant'}}); await {DRAWN};"
            "const r = e.getBoundingClientRect(); return r.width ? [r.x + r.width / 2, r.y + r.height / 2] : null })()"
        )
        if found is None:
            raise BrowserError(f"nothing to be seen matches {selector}")
        return found[0], found[1]

    def press(self, key: str, times: int = 1, *, shift: bool = False) -> None:
        """Press and release a key, by its name in the DOM."""
        code, number, text = KEYS[key]
        about = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 if shift else 0}
        for _ in range(times):
            self.call("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
            self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    # ------------------------------------------------------------------------------------------------- what it shows

    def screenshot(self, whole: bool = True) -> bytes:
        """The page as PNG: all of it, or what the window shows."""
        clip: dict[str, Any] = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **clip)["data"]
        return base64.b64decode(data)

    def pdf(self) -> bytes:
        """The page as it is printed on A4."""
        found = self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=False)
        return base64.b64decode(found["data"])
