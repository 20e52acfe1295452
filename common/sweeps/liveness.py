"""Who works on a trial, and whether it still lives. A token names a process without naming its machine."""

import hashlib
import os
import uuid
from contextlib import suppress
from pathlib import Path

_ACTIVE: set[str] = set()  # tokens of the searches that run in this process


def enter() -> str:
    """A token for a search that begins in this process."""
    token = f"{_machine()}-{os.getpid()}-{_start(os.getpid())}-{uuid.uuid4().hex[:8]}"
    _ACTIVE.add(token)
    return token


def leave(token: str) -> None:
    """The search with this token has ended."""
    _ACTIVE.discard(token)


def lives(token: str) -> bool | None:
    """Whether the worker's process, and its search in it, is there; None where that cannot be told, as of another
    machine or container. One that is there may still be stuck."""
    machine, pid, start, _ = token.split("-")
    if not machine or machine != _machine():
        return None
    if int(pid) == os.getpid():
        return token in _ACTIVE
    return _start(int(pid)) == start


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
