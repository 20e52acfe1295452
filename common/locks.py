"""One process at a time in a folder: a lock that the system takes back when its holder dies, however it dies.

A process may take a folder's lock several times over, as a notebook does whose cells are run again. Covers processes
of one machine; on a file system that knows no locks, nothing is kept apart.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from common.settings import UserError, writable, writing

NAME = ".lock"


@dataclass
class _Lock:
    descriptor: int
    holders: int = 0


_LOCKS: dict[Path, _Lock] = {}  # of this process, by folder
_GUARD = threading.Lock()


def hold(folder: Path) -> None:
    """Take the folder until this process ends. Raises UserError where another process has it."""
    _take(writable(folder).resolve())


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Take the folder for as long as the block runs. Raises UserError as `hold`."""
    place = writable(folder).resolve()  # now: the process may change its own folder within the block
    _take(place)
    try:
        yield
    finally:
        with _GUARD:
            lock = _LOCKS[place]
            lock.holders -= 1
            if not lock.holders:
                (place / NAME).unlink(missing_ok=True)
                os.close(lock.descriptor)
                del _LOCKS[place]


def _take(place: Path) -> None:
    with _GUARD:
        if place not in _LOCKS:
            _LOCKS[place] = _Lock(_descriptor(place))
        _LOCKS[place].holders += 1


def _forget() -> None:
    """A child that was forked has its parent's files open, which would keep the locks beyond the parent's end."""
    for lock in _LOCKS.values():
        os.close(lock.descriptor)
    _LOCKS.clear()


os.register_at_fork(after_in_child=_forget)


def _descriptor(folder: Path) -> int:
    """An open file that holds the folder's lock, or one that holds nothing where the file system has no locks."""
    path = folder / NAME
    while True:
        with writing(folder):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UserError(
                f"another process works in {folder}; wait until it ends or stop it (a notebook: shut its kernel down), "
                "then run this again"
            ) from None
        except OSError:
            return descriptor
        # Who had the lock before may have removed the file since it was opened: then others see another one.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)
