"""The process that runs untrusted SQL: locks itself down, then answers messages until its pipe closes.

A message holds pieces of work; the task module's `run(shared, items, file, say)` does one of them. It announces each
stage by `say(item, stage, parts)` before it begins; the announcement is a line on a pipe, of which the parent looks at
the last one when the worker has died. An item's parts go back with all of its piece, and with those of other pieces.
"""

import ctypes
import importlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from common.sandbox import frames
from common.sandbox.guard import ORDINARY

# Of CPU, for all stages of an item together with those that it shares with others.
ITEM_SECONDS = 2.0
ADDRESS_SPACE = 2**30
ANSWER_SECONDS = 0.002  # work whose results go back together; what a death loses of it is done again
_PR_SET_PDEATHSIG = 1
_setitimer, _VIRTUAL = signal.setitimer, signal.ITIMER_VIRTUAL


def main(task_name: str, parent: int, steps: int) -> None:
    """Serve until the pipe ends. Runs in the worker only; called by the command line that `pool` builds.

    steps: descriptor that announcements go to.
    """
    pipe = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)  # a stray print must not reach the frames
    os.close(null)
    try:
        task = importlib.import_module(task_name)
        missing = _lock_down(parent)
    except BaseException:
        os.write(pipe, frames.pack(["fatal", traceback.format_exc()]))
        return
    _send(pipe, ["ready", missing])
    while (frame := frames.read(sys.stdin.buffer.read)) is not None:
        message, blob = frame
        try:
            if message[0] == "file":
                task.hold(message[1], blob)
            else:
                _serve(task, pipe, steps, *message[1:])
        except BaseException:
            _alarm.stop()
            _send(pipe, ["fatal", traceback.format_exc()])
            return


class _Alarm:
    """The CPU alarm: SIGVTALRM at its default action ends the process inside any long operation.

    A stage has `seconds`, and less where little is left to its item.
    """

    def __init__(self) -> None:
        self.seconds = ORDINARY.seconds
        self._item: int | None = None
        self._shared = self._used = self._armed = 0.0

    def start_piece(self) -> None:
        """Nothing is used, and stages have the ordinary time again."""
        self.seconds, self._item = ORDINARY.seconds, None
        self._shared = self._used = self._armed = 0.0

    def start_stage(self, item: int | None) -> None:
        """item: None for what all items of the piece share."""
        self._used += self._spend(self.seconds)
        if item != self._item:
            if self._item is None:
                self._shared = self._used
            self._item, self._used = item, 0.0
        left = ITEM_SECONDS - self._shared - self._used
        if left < self.seconds:
            self._spend(max(left, 0.001))  # 0 would be no alarm

    def renew(self) -> None:
        """The ordinary time anew inside a stage; what was used so far is forgotten."""
        self._spend(ORDINARY.seconds)

    def stop(self) -> None:
        if self._armed:
            self._used += self._spend(0.0)

    def pause(self) -> "_Pause":
        """No alarm meanwhile, unless a stage starts inside."""
        return _Pause(self)

    def suspend(self) -> tuple[float, float]:
        """Stop it; returns what was set, and what is left of that."""
        armed = self._armed
        return armed, armed - self._spend(0.0) if armed else 0.0

    def resume(self, armed: float, rest: float) -> None:
        """What was used since `suspend`, by a stage that began there, and on with the rest."""
        if armed or self._armed:
            self._used += self._spend(rest)
            self._armed = armed

    def _spend(self, seconds: float) -> float:
        """Set the alarm; what has been used since it was set before."""
        used = self._armed - _setitimer(_VIRTUAL, seconds)[0]
        self._armed = seconds
        return used if used > 0.0 else 0.0


class _Pause(AbstractContextManager[None]):
    """What `contextmanager` would make, at a third of the time: it is entered for most rows."""

    def __init__(self, alarm: _Alarm):
        self._alarm = alarm

    def __enter__(self) -> None:
        self._state = self._alarm.suspend()

    def __exit__(self, *_: object) -> None:
        self._alarm.resume(*self._state)


_alarm = _Alarm()


def free_time() -> AbstractContextManager[None]:
    """For our own work inside a stage, which is bounded by what it works on: no CPU time counts."""
    return _alarm.pause()


def renew() -> None:
    """CPU time anew, for the next piece of foreign work in one stage."""
    _alarm.renew()


def allow(seconds: float) -> None:
    """CPU time of each further stage of this piece of work."""
    _alarm.seconds = seconds


@contextmanager
def privileges() -> Iterator[None]:
    """For an import of ours inside a stage: files may be opened and no CPU time counts."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if 0 < hard < 256 else 256, hard))
    try:
        with free_time():
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))


def _serve(task: Any, pipe: int, steps: int, serial: int, pieces: list[dict[str, Any]], drop: list[str]) -> None:
    for key in drop:
        task.drop(key)
    answers, begin = [], time.monotonic()
    for number, piece in enumerate(pieces):
        parts = [{} for _ in piece["items"]]
        without = {(item, stage) for item, stage in piece["without"]}
        place = f"{serial} {number}"

        def say(
            item: int | None,
            stage: str | None,
            more: dict[str, Any] | None = None,
            place: str = place,
            parts: list[dict[str, Any]] = parts,
            without: set[tuple[int, str]] = without,
        ) -> bool:
            """Add to an item's parts and announce its next stage, if any; False where that is to be left out."""
            if more:
                parts[item].update(more)
            if stage is None or (without and (item, stage) in without):
                _alarm.stop()
                return False
            os.write(steps, f"{place} {-1 if item is None else item} {stage}\n".encode())
            _alarm.start_stage(item)
            return True

        _alarm.start_piece()
        task.run(piece["shared"], piece["items"], piece["file"], say)
        _alarm.stop()
        answers.append([number, parts])
        if time.monotonic() - begin > ANSWER_SECONDS:
            _send(pipe, ["answers", answers, False])
            answers, begin = [], time.monotonic()
    _send(pipe, ["answers", answers, True])


def _send(pipe: int, message: Any) -> None:
    data = memoryview(frames.pack(message))
    while data:
        data = data[os.write(pipe, data) :]


def _lock_down(parent: int) -> list[str]:
    """Every layer of this process; returns the names of those that the platform lacks."""
    missing = []
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not _die_with(parent):
        missing.append("parent death signal")
    sys.dont_write_bytecode = True
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for name, limits in {
        "RLIMIT_AS": (ADDRESS_SPACE, ADDRESS_SPACE),
        "RLIMIT_FSIZE": (0, 0),
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_NOFILE": (0, hard),  # soft only: `privileges` raises it for an import of ours
    }.items():
        try:
            resource.setrlimit(getattr(resource, name), limits)
        except (AttributeError, ValueError, OSError):
            missing.append(name)
    return missing


def _die_with(parent: int) -> bool:
    """Ask the kernel for a signal at the parent's death; False where it cannot.

    Linux sends it at the end of the *thread* that started us too, so the handler looks whether the process is gone.
    """
    if not sys.platform.startswith("linux"):
        return False

    def leave_if_orphaned(*_: Any) -> None:
        if os.getppid() != parent:
            os._exit(0)

    signal.signal(signal.SIGUSR1, leave_if_orphaned)
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1, 0, 0, 0):
        return False
    leave_if_orphaned()  # the parent may have died before
    return True
