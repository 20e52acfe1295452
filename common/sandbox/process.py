"""One worker process as its parent sees it: start, send, receive with a time limit, stop."""

import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from common.sandbox import frames

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
STARVATION_SECONDS = 60.0  # longest wait for a worker that other processes keep from running
_BOOT = (
    "import sys; sys.path[:0] = sys.argv[4:5]; sys.path += [p for p in sys.argv[5:] if p not in sys.path]; "
    "from common.sandbox.worker import main; main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))"
)
# SQLite frees a database's pages with each row; they are kept for the next.
_MALLOC = "glibc.malloc.tcache_max=65536:glibc.malloc.tcache_count=64"
# A Python that finds its own libraries by these needs them in the worker as well.
_LOADER = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class SandboxError(RuntimeError):
    """Our own machinery failed; nothing that was to be run is to blame."""


class DiedAtStart(SandboxError):
    """A worker ended before it said a word, as when someone kills it; another try may do."""


class Worker:
    """A started worker. `missing` lists the layers that its platform lacks."""

    def __init__(self, task: str):
        """Start it and wait until it is locked down. Raises SandboxError where it cannot start."""
        paths = [str(ROOT), *(path for path in sys.path if Path(path).is_absolute())]
        environment = {name: os.environ[name] for name in _LOADER if name in os.environ}
        environment |= {"TZ": "UTC", "GLIBC_TUNABLES": _MALLOC}
        self._steps, steps = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", _BOOT, task, str(os.getpid()), str(steps), *paths],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                cwd="/",
                env=environment,
                pass_fds=[steps],
                start_new_session=True,  # Ctrl-C in a terminal or notebook goes to the parent alone
            )
        except BaseException:
            os.close(self._steps)
            raise
        finally:
            os.close(steps)
        self._in, self._out = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._steps, False)
        self._announcements = b""
        self._buffer = bytearray()
        self._outgoing: deque[memoryview] = deque()
        self._is_deaf = False
        self._late = False
        try:
            message = self.receive(START_SECONDS)
            if message is None:
                raise DiedAtStart(f"a worker did not start: {self.why_dead()}")
            if message[0] != "ready":
                raise SandboxError(f"a worker did not start: {message[1]}")
        except BaseException:
            self.stop()
            raise
        self.missing: list[str] = message[1]

    def send(self, message: Any, blob: bytes = b"") -> None:
        """Hand over one frame. What the pipe has no room for now goes while `receive` waits; a worker that is gone is
        found out there as well."""
        if not self._is_deaf:
            self._outgoing.append(memoryview(frames.pack(message, blob)))
            self._push()

    def _push(self) -> None:
        """Write what the pipe takes."""
        try:
            while self._outgoing:
                rest = self._outgoing[0][os.write(self._in, self._outgoing[0]) :]
                if rest:
                    self._outgoing[0] = rest
                else:
                    self._outgoing.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._is_deaf = True
            self._outgoing.clear()

    def receive(self, seconds: float) -> Any:
        """The next message, or None where the worker has died or was silent for so long."""
        try:
            frame = frames.read(lambda size: self._take(size, seconds))
        except OSError:
            return None
        return None if frame is None else frame[0]

    def step(self) -> tuple[int, int, int | None, str] | None:
        """The latest announcement, None before the first: the message's serial, piece, item (None: all), stage."""
        self._hear()
        lines = self._announcements.split(b"\n")
        if len(lines) < 2:
            return None
        serial, number, item, stage = lines[-2].split(b" ")
        return int(serial), int(number), None if item == b"-1" else int(item), stage.decode()

    def _hear(self) -> bool:
        """Take in announcements; whether there were new ones."""
        is_news = False
        with suppress(BlockingIOError):
            while data := os.read(self._steps, 65536):
                self._announcements, is_news = (self._announcements + data)[-200:], True
        return is_news

    def why_dead(self) -> str:
        """After `receive` or `send` failed: `wall`, `cpu` or `crash`."""
        if self._late:
            return "wall"
        try:
            code = self.process.wait(5.0)
        except subprocess.TimeoutExpired:
            return "wall"
        return "cpu" if code == -signal.SIGVTALRM else "crash"

    def stop(self) -> None:
        """End the process, wait for it, close the pipes."""
        self.process.kill()
        self.process.wait()
        self._close()

    def abandon(self) -> None:
        """In a forked child: close the copies of the pipes' ends and leave the process to the parent."""
        self.process.returncode = 0  # nothing to wait for here
        self._close()

    def _close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        if self._steps is not None:
            os.close(self._steps)
            self._steps = None

    def _is_starving(self) -> bool:
        """Whether it would run if it were given a processor: then its CPU alarm is still to come (Linux only)."""
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] == "R"

    def _take(self, size: int, seconds: float) -> bytes:
        deadline = time.monotonic() + STARVATION_SECONDS
        while len(self._buffer) < size:
            poll = select.poll()
            poll.register(self._out, select.POLLIN)
            if self._outgoing:
                poll.register(self._in, select.POLLOUT)
            events = dict(poll.poll(seconds * 1000))
            if not events:
                if self._hear() or (self._is_starving() and time.monotonic() < deadline):
                    continue  # it goes on, or would
                self._late = True
                break
            if self._in in events:
                self._push()
            if self._out in events:
                data = os.read(self._out, 65536)
                if not data:
                    break
                self._buffer += data
                self._hear()  # or that pipe fills, and the worker waits
        content = bytes(self._buffer[:size])
        del self._buffer[:size]
        return content
