"""Where an attempt at a trial trains: in a folder of its own, locked for as long as it does.

Two workers never share one, whatever they believe of each other: a worker that was silent for too long may train on
beside its successor. An attempt that has ended, by an error or with its process, holds no lock any more; the next one
at the same trial with the same values moves its checkpoints into its own folder and goes on there. Where a file system
does not know the locks of other machines, a silent worker may lose its files to its successor, which wants no outcome
of it anyway; a rename keeps their files apart even then.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.locks import locked
from common.provenance import digest
from common.settings import UserError

_TRAINING = "training"  # below the folder that is locked, since a training may lock its own


@contextmanager
def attempt_folder(root: Path, trial: str, values: dict) -> Iterator[Path]:
    """The folder in which an attempt at `trial` with these `values` trains, with what an ended one has left.

    It goes at the block's end; an exception leaves it for the next attempt.
    """
    name = f"{trial}.{digest(values)[:8]}"
    home = root / f"{name}.{uuid.uuid4().hex[:8]}"
    with locked(home):
        _take_over(root, name, home)
        yield home / _TRAINING
    shutil.rmtree(home, ignore_errors=True)


def clear(root: Path, trial: str) -> None:
    """Remove what ended attempts at `trial` have left."""
    for remains in root.glob(f"{trial}.*"):
        with suppress(UserError, OSError), locked(remains):
            shutil.rmtree(remains, ignore_errors=True)


def _take_over(root: Path, name: str, home: Path) -> None:
    """Move the newest training of an ended attempt to `home`, if there is one."""
    for remains in sorted(root.glob(f"{name}.*/{_TRAINING}"), key=_changed, reverse=True):
        with suppress(UserError, OSError), locked(remains.parent):  # else its attempt trains, or somebody was faster
            remains.rename(home / _TRAINING)
            return


def _changed(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0
