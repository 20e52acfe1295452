"""Who works on a trial, and whether it still lives. A token names a process without naming its machine."""

import hashlib
import os
import uuid
from contextlib import suppress
from pathlib import Path

_ACTIVE: set[str] = set()  # tokens of the searches that run in this process


def process() -> str:
    """Names this process: machine, number and beginning, with `-` between them."""
    return f"{_machine()}-{os.getpid()}-{_start(os.getpid())}"


def runs(process: str) -> bool | None:
    """Whether the process of this name is there; None where that cannot be told, as of another machine or container, or
    where it is no such name."""
    machine, _, rest = process.partition("-")
    pid, _, start = rest.partition("-")
    if not machine or machine != _machine() or not pid.isdecimal():
        return None
    return _start(int(pid)) == start


def enter() -> str:
    """A token for a search that begins in this process."""
    token = f"{process()}-{uuid.uuid4().hex[:8]}"
    _ACTIVE.add(token)
    return token


def leave(token: str) -> None:
    """The search with this token has ended."""
    _ACTIVE.discard(token)


def lives(token: str) -> bool | None:
    """Whether the worker's process, and its search in it, is there; None where that cannot be told, as of another
    machine or container. One that is there may still be stuck."""
    alive = runs(token.rpartition("-")[0])
    return token in _ACTIVE if alive and token.split("-")[1] == str(os.getpid()) else alive


def _machine() -> str:
    """Names this boot of this machine and the namespace in which a process id means something; "" where neither is told
    (not Linux)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return hashlib.sha256(f"{boot} {Path('/proc/self/ns/pid').readlink()}".encode()).hexdigest()[:12]
    except OSError:
        return ""


def _start(pid: int) -> str:
    """When a process began, in clock ticks since the boot; "" where there is none, or only its remains."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    # A first thread may be gone while others still end, and hold what the process held.
    return "" if state == "X" or (state == "Z" and _threads(pid) < 2) else fields[18]


def _threads(pid: int) -> int:
    with suppress(OSError):
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    return 0
