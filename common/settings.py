"""Paths of the repository, keys, and the one exception for a user's mistake.

The only module that reads keys. It never prints them; `redact` takes them out of any text that is written.
Keys come from `_config.py` in the repository's root (read by path, never imported), then from the environment.
"""

import errno
import os
import runpy
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEYS = ("WANDB_API_KEY", "GROQ_API_KEY")
CONFIG_NAMES = (*KEYS, "WANDB_PROJECT")


class UserError(Exception):
    """A mistake that the user can mend: its text is one line that says what to do."""

    def __init__(self, message: str):
        super().__init__(" ".join(redact(message).split()))

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


def absolute(path: str, base: Path | None = None) -> Path:
    """The path in full: from `base` (None: this process's folder) where it is relative, `~` and `..` resolved.

    A link in the last place stays one, since what it links to may have a name that says nothing.
    """
    place = Path(path)
    with suppress(RuntimeError):  # the ~ of nobody's home is a name like any other
        place = place.expanduser()
    place = (base or Path.cwd()) / place
    if place.name in ("", ".."):
        return Path(os.path.realpath(place))
    return Path(os.path.realpath(place.parent), place.name)


def environment_base() -> Path:
    """Where relative paths in environment variables count from: the root in all of the repository's folders, else this
    process's folder. A notebook's kernel is in the notebook's folder, a command mostly in the root; both find the same.
    """
    here = Path.cwd()
    return ROOT if here.is_relative_to(ROOT) else here


def outputs() -> Path:
    """Folder of checkpoints, scratch runs and caches; the environment's TEXT_TO_SQL_OUTPUTS moves it."""
    return _folder("TEXT_TO_SQL_OUTPUTS") or ROOT / "outputs"


def results() -> Path:
    """Folder of the ledger; the environment's TEXT_TO_SQL_RESULTS moves it."""
    return _folder("TEXT_TO_SQL_RESULTS") or ROOT / "results"


def _folder(variable: str) -> Path | None:
    text = os.environ.get(variable)
    return absolute(text, environment_base()) if text else None


def publishing() -> bool:
    """Whether `make notebooks` runs this process's notebook: its records are for `results/` then, else for `outputs()`.

    The study's runner sets TEXT_TO_SQL_PUBLISHING for the kernels it starts.
    """
    return os.environ.get("TEXT_TO_SQL_PUBLISHING") == "1"


def relative(path: Path) -> str:
    """A path as a person reads it: from the repository's root where it lies below it."""
    path = path.resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def writable(folder: Path) -> Path:
    """The folder, made if need be. Raises UserError where it cannot be written."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    return folder


def disk_error(error: Exception, path: Path) -> UserError:
    """The one line for a disk that is full, read-only or forbidden."""
    reason = getattr(error, "strerror", None) or "no space is left on the disk"
    return UserError(f"cannot write {path}: {reason}; free some space, or set TEXT_TO_SQL_OUTPUTS to another folder")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a failed write below `path` into the one line of `disk_error`; any other exception passes."""
    try:
        yield
    except Exception as error:  # torch, safetensors and pyarrow each raise their own for a full disk
        if (isinstance(error, OSError) and error.errno in _REFUSED) or _free_bytes(path) < 16 * 2**20:
            raise disk_error(error, path) from None
        raise


# A file in the folder's place (EEXIST, ENOTDIR) is mended like a disk that refuses: by naming another folder.
_REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR}


def _free_bytes(path: Path) -> int:
    for place in (path, *path.parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return 0


@cache
def _config() -> dict[str, str]:
    path = ROOT / "_config.py"
    if not path.exists():
        return {}
    try:
        names = runpy.run_path(str(path))
    except (Exception, SystemExit) as error:  # whatever a hand-edited file raises
        raise ValueError(
            f"_config.py cannot be read ({type(error).__name__}); compare it with _config.example.py"
        ) from None
    return {name: str(names[name]) for name in CONFIG_NAMES if _is_set(str(names.get(name) or ""))}


def _is_set(value: str | None) -> bool:
    return bool(value) and not value.startswith("your-")  # the example's placeholders


def key(name: str) -> str | None:
    """A key or setting by name, or None where it is absent, empty or still the example's placeholder."""
    try:
        value = _config().get(name) or os.environ.get(name, "")
    except ValueError as error:
        raise UserError(str(error)) from None
    return value if _is_set(value) else None


def redact(text: str) -> str:
    """The text without any key, wherever the key came from."""
    try:
        values = [value for name in KEYS for value in (_config().get(name), os.environ.get(name))]
    except ValueError:
        values = [os.environ.get(name) for name in KEYS]
    for value in sorted(filter(_is_set, values), key=len, reverse=True):  # one key may begin with another
        text = text.replace(value, "<key>")
    return text


def replace_text(path: Path, text: str) -> None:
    """Write a file as a whole or not at all, without any key in it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(redact(text), encoding="utf-8", newline="\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def once(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, made by `make(path)` where it is absent: there as a whole, or not at all.

    Two that make it at the same time both get the one that was there first. Raises UserError where the disk refuses.
    """
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}-{threading.get_ident()}")
    try:
        with writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            make(partial)
            try:
                partial.rename(folder)
            except OSError:
                if not folder.is_dir():  # else the other was faster
                    raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def run_cli(main: Callable[[], int | None]) -> None:
    """Run a command's main: a UserError ends in one line and exit code 2, an interrupt in exit code 130."""
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        sys.exit(130)
