"""A headless Chromium that is spoken to through a pipe: pages looked at as a reader would see them.

No library and no port: the browser reads commands of its DevTools protocol from descriptor 3 and answers on 4.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SECONDS = 60.0
# Puts the two ends where the browser looks for them; as a program of its own, since threads make forking here unsafe.
_START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD_CLOEXEC, 10) for end in sys.argv[1:3]]  # out of the way of 3 and 4
os.dup2(ends[0], 3), os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find() -> str | None:
    """Path of a browser, if there is one."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@dataclass
class Seen:
    """What became of a page.

    Attributes:
        requests: URLs that were asked for, without those that are their own content (``data:``).
        errors: what the console says, and exceptions.
    """

    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Browser:
    """A browser with one tab; use as a context manager.

    Args:
        program: its path.
        folder: for its profile and what it prints.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self._number = 0
        self._data = b""
        self._session = ""
        self._loaded = False
        self._answered: dict[int, dict[str, Any]] = {}
        self.seen = Seen()
        self._log_path = folder / "browser.log"
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        flags = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-extensions",
            "--hide-scrollbars", "--force-color-profile=srgb", "--remote-debugging-pipe",
            f"--user-data-dir={folder / 'profile'}",
        ]  # fmt: skip
        with open(self._log_path, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(commands), str(answers), program, *flags],
                pass_fds=(commands, answers),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        os.close(commands)
        os.close(answers)

    def __enter__(self) -> Browser:
        try:
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self._call(f"{domain}.enable")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._commands, self._answers):
            os.close(end)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its own session: the browser and its helpers, no others
        self._process.wait()

    def open(self, path: Path, width: int, scheme: str, height: int = 900) -> None:
        """Show a file in a window of that width, with a preferred colour scheme, ``light`` or ``dark``."""
        self.seen = Seen()
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        self._call(
            "Emulation.setEmulatedMedia", media="screen", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        self._loaded = False
        self._call("Page.navigate", url=path.resolve().as_uri())
        self._wait(lambda: self._loaded)

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, *, whole: bool = True) -> bytes:
        """The page, or what the window shows of it, as a PNG."""
        beyond = {"captureBeyondViewport": True, "clip": self._extent()} if whole else {}
        return base64.b64decode(self._call("Page.captureScreenshot", format="png", **beyond)["data"])

    def print_pdf(self) -> bytes:
        """The page as it prints on A4."""
        sizes = {"paperWidth": 8.27, "paperHeight": 11.69}
        return base64.b64decode(
            self._call("Page.printToPDF", printBackground=False, preferCSSPageSize=False, **sizes)["data"]
        )

    def emulate_paper(self, width: int = 700) -> None:
        """Show the page as it would be printed, on paper that wide."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self._call("Emulation.setEmulatedMedia", media="print")

    def point_at(self, x: float, y: float) -> None:
        """Move the mouse there, in pixels of the window."""
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def _extent(self) -> dict[str, float]:
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}

    # ---- the protocol: JSON objects with a zero byte between them ----

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": arguments}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._commands, data) :]
        answer: dict[str, Any] = {}
        number = self._number

        def has_come() -> bool:
            nonlocal answer
            answer = self._answered.pop(number, {})
            return bool(answer)

        self._wait(has_come)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _wait(self, until: Any) -> None:
        end = time.monotonic() + _SECONDS
        while not until():
            ready, _, _ = select.select([self._answers], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self._answers, 1 << 20) if ready else b""
            if not data:
                log = self._log_path.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the browser {'ended' if ready else 'does not answer'}; it said: {log}")
            *messages, self._data = (self._data + data).split(b"\0")
            for message in messages:
                self._note(json.loads(message))

    def _note(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answered[message["id"]] = message
            return
        method, told = message["method"], message["params"]
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            if not told["request"]["url"].startswith("data:"):
                self.seen.requests.append(told["request"]["url"])
        elif method == "Log.entryAdded":
            self.seen.errors.append(f"{told['entry']['level']}: {told['entry']['text']}")
        elif method == "Runtime.consoleAPICalled":
            self.seen.errors.append(str(told["args"]))
        elif method == "Runtime.exceptionThrown":
            self.seen.errors.append(told["exceptionDetails"]["text"])
