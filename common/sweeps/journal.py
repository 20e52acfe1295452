"""A journal file as a sweep's storage: one writer at a time, and none that died in the way of the others.

The lock is a link beside the file, as Optuna's is, for file systems that know no other locks. It names its holder: the
lock of a process of this machine that has died is taken over at once. Not covered: a holder that stands still for
longer than GRACE on another machine, which loses its lock as it would with Optuna's.
"""

import fcntl
import os
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from common.settings import UserError, writable, writing
from common.sweeps import liveness

GRACE = 30.0  # seconds after which a lock counts as left behind, where nobody can say whether its holder lives
NOTICE = 5.0  # seconds of waiting after which a line says so
PATIENCE = 120.0  # seconds of waiting for a holder that does
_BEGIN = b'{"op_code":'  # of every line


class JournalLock(JournalFileSymlinkLock):
    """The lock of a journal file, by a path in full. Taking it drops the half line of a writer that was killed."""

    def __init__(self, path: Path, *, grace: float = GRACE, patience: float = PATIENCE):
        super().__init__(str(path), grace_period=None)
        self._path, self._link = path, Path(f"{path}.lock")
        self._grace, self._patience = grace, patience
        self._token = ""

    def acquire(self) -> bool:
        """Returns True once the lock is held. Raises UserError where another process keeps it, or what is in its place
        cannot be removed."""
        begin, last, pause, since = time.monotonic(), 0.0, 0.001, {}
        self._token = f"{liveness.process()}-{uuid.uuid4().hex[:8]}"
        try:
            while True:
                with suppress(FileExistsError):
                    self._link.symlink_to(self._token)
                    _drop_torn_line(self._path)
                    return True
                waited = time.monotonic() - begin
                if self._is_left_behind(since, waited):
                    continue
                if waited > NOTICE > last:
                    print(f"waiting for the lock {self._link}, which another process left or holds", file=sys.stderr)
                last = waited
                time.sleep(pause)
                pause = min(2 * pause, 0.25)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the lock back, if it is this one's."""
        with suppress(OSError):
            if str(self._link.readlink()) == self._token:
                self._link.unlink()

    def _is_left_behind(self, since: dict, waited: float) -> bool:
        """Whether the lock was its holder's no more, and is removed. since: when each lock was first met."""
        state = _state(self._link)
        if state is None:
            return True
        alive = liveness.runs(state[0].rpartition("-")[0])
        if not state[0] and self._link.is_dir():  # nobody's lock, and no lock can be taken beside it
            alive = False
        if alive is None:
            if state not in since:
                since[state] = time.monotonic() - self._age()
            alive = time.monotonic() - since[state] <= self._grace
        elif alive and waited > self._patience:
            raise UserError(
                f"the process {state[0].split('-')[1]} has held {self._link} for {waited:.0f} s; stop it, or wait and "
                "run this again: it goes on where it was"
            )
        if not alive:
            self._remove(state)
        return not alive

    def _age(self) -> float:
        """Seconds since the lock was taken, by the clock of its file system; 0 where that cannot be told."""
        with suppress(OSError), tempfile.TemporaryFile(dir=self._link.parent) as probe:
            return max(0.0, os.fstat(probe.fileno()).st_mtime - self._link.lstat().st_mtime)
        return 0.0

    def _remove(self, state: tuple[str, int, int]) -> None:
        """Remove the lock in this state: by one process at a time, or the second would remove the first one's own."""
        with self._path.open("ab") as file:
            with suppress(OSError):  # a file system without such locks: what remains are the microseconds below
                fcntl.flock(file, fcntl.LOCK_EX)
            if _state(self._link) != state:
                return
            try:
                self._link.unlink()
            except FileNotFoundError:
                pass
            except OSError as error:
                raise UserError(
                    f"{self._link} was left behind and cannot be removed ({error.strerror}); remove it"
                ) from None


def open_journal(path: Path) -> BaseStorage:
    """The storage in a file, which is made if need be; path: in full. Raises UserError where it cannot be used."""
    try:
        if path.is_dir():
            raise UserError(f"SWEEP_STORAGE names the folder {path}; give a file, as journal:FILE")
        writable(path.parent)
        with writing(path):
            lock = JournalLock(path)
            backend = JournalFileBackend(str(path), lock_obj=lock)
            lock.acquire()
            lock.release()
        return JournalStorage(backend)
    except (ValueError, KeyError) as error:
        reason = type(error).__name__
    except OSError as error:
        reason = error.strerror
    raise UserError(f"the sweep journal {path} cannot be read ({reason}); name another file in SWEEP_STORAGE")


def _state(link: Path) -> tuple[str, int, int] | None:
    """What tells one lock from the next: its text ("" for what is no link), its number and its time; None where there
    is none."""
    try:
        stat = link.lstat()
        text = str(link.readlink()) if link.is_symlink() else ""
    except FileNotFoundError:
        return None
    return text, stat.st_ino, stat.st_mtime_ns


def _drop_torn_line(path: Path) -> None:
    """A writer that was killed may leave half a line, on which the next one would write: then nobody could read it. A
    file that is no journal stays as it is."""
    with path.open("rb+") as file:
        begin = file.read(len(_BEGIN))
        if not begin or not _BEGIN.startswith(begin):
            return
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
