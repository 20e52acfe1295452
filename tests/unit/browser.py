"""A headless Chromium that tests look at a page with, by its DevTools protocol over two pipes: no port, no driver.

Only what the tests need: open a file, ask it something, press keys, change the screen. Not another browser, not the
network. https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome-headless-shell")
SECONDS = 20.0  # the longest wait for anything
_KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "ArrowDown": (40, ""), "ArrowUp": (38, ""), "Tab": (9, "")}
# Texts of a page whose contrast to what lies behind them is less than 4.5, WCAG's AA; what is switched off is exempt.
LOW_CONTRAST = """(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = channels(colour).map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let each = node; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if ((channels(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const low = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !node.checkVisibility() || node.closest("script, :disabled, .off")) continue;
    const [one, other] = [getComputedStyle(node).color, behind(node)].map(luminance);
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) low.push(`${contrast.toFixed(1)}: ${texts.currentNode.data.slice(0, 40)}`);
  }
  return low;
})()"""


def path() -> str | None:
    """A Chromium of the system, None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a browser. `events`: what it told besides answers, such as errors of scripts and refused requests."""

    def __init__(self, process: subprocess.Popen, to_browser: int, from_browser: int):
        self._process, self._to, self._from = process, to_browser, from_browser
        self._buffer, self._serial, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command's result. Raises AssertionError for one that the browser refuses, or where it does not answer."""
        self._serial += 1
        message = {"id": self._serial, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive(method)
            if answer.get("id") == self._serial:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            if "method" in answer:
                self.events.append(answer)

    def _receive(self, method: str) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], SECONDS)
            part = os.read(self._from, 1 << 20) if ready else b""
            assert part, f"the browser does not answer {method}"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, url: str) -> None:
        """Load a page anew, and wait until it has shown itself: it then has another status than at its start."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && !document.getElementById('status').textContent.includes('…')")

    def ask(self, expression: str) -> Any:
        """An expression's value, awaited. Raises AssertionError where it throws."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until an expression is true. Raises AssertionError where it does not become so."""
        end = time.monotonic() + SECONDS
        while True:
            with suppress(AssertionError):  # between two pages there is nothing to ask
                if self.ask(expression):
                    return
            assert time.monotonic() < end, f"still not: {expression}"
            time.sleep(0.02)

    def press(self, *keys: str) -> None:
        """Keys by their names or letters, one after the other."""
        for key in keys:
            code, text = _KEYS[key] if key in _KEYS else (ord(key.upper()), key)
            parameters = {"key": key, "windowsVirtualKeyCode": code, **({"text": text} if text else {})}
            self.call("Input.dispatchKeyEvent", type="keyDown", **parameters)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def screen(self, width: int, height: int, *, dark: bool = False) -> None:
        """A screen of this size in pixels, and its colours."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, file: Path) -> None:
        """What the screen shows, as a PNG."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


# The protocol is spoken on the descriptors 3 and 4, which may be taken by the pipes themselves.
_LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, number in zip(ends, (3, 4)):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with its profile in a folder; gone at the end, with all of its processes."""
    (ours_in, theirs_out), (theirs_in, ours_out) = os.pipe(), os.pipe()
    flags = ["--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio"]
    flags += [f"--user-data-dir={folder / 'profile'}"]
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []  # it refuses to have one as root
    process = subprocess.Popen(
        [sys.executable, "-c", _LAUNCH, str(theirs_in), str(theirs_out), path(), *flags],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[theirs_in, theirs_out],
        start_new_session=True,
        env={**os.environ, "HOME": str(folder)},
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        page = Browser(process, ours_out, ours_in)
        yield page
        page._session = ""
        page.call("Browser.close")
        process.wait(SECONDS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()
        os.close(ours_in)
        os.close(ours_out)
