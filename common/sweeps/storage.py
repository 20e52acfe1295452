"""Where a sweep is kept: SQLite, PostgreSQL or another database of SQLAlchemy's, or a journal file.

`SWEEP_STORAGE` names it. A URL may hold a password, so nothing here prints one: errors name host and database only.
"""

import json
import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.engine import URL, make_url

from common.settings import UserError, outputs, writable, writing

KINDS = "sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE, or journal:FILE"
PATIENCE = 60.0  # seconds that a running search waits for a storage that does not answer, before it gives up
_OPENINGS = 8  # tries to open a new database while other workers make its tables


class Storage:
    """An open storage. `call` asks it something, `where` names it without its password."""

    def __init__(self, url: str | None = None):
        url = _url(url)
        path = journal_path(url)
        self._address = None if path else _parse(url)
        self.where = str(path) if path else _public(self._address)
        self._storage = _open_journal(path) if path else self._open_database()

    def call(self, method: str, *args: Any, patience: float | None = None, **kwargs: Any) -> Any:
        """What a method of Optuna's storage returns; one that is away is asked again for `patience` (PATIENCE) seconds.

        Raises UserError after that. What a trial has written to its folder stays, so nothing is lost by it.
        """
        deadline, pause = time.monotonic() + (PATIENCE if patience is None else patience), 0.1
        while True:
            try:
                return getattr(self._storage, method)(*args, **kwargs)
            except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError, OSError, json.JSONDecodeError) as error:
                if time.monotonic() > deadline:
                    raise self._down(error) from None
                time.sleep(pause)
                pause = min(2 * pause, 5.0)

    def _open_database(self) -> BaseStorage:
        url = _with_driver(self._address)
        options: dict[str, Any] = {"pool_pre_ping": True}  # a connection may have died since it was last used
        if url.get_backend_name() == "sqlite":
            options["connect_args"] = {"timeout": 60}  # a writer waits for the others
        elif url.get_backend_name() == "postgresql":
            options["connect_args"] = {"connect_timeout": 10}
        for left in reversed(range(_OPENINGS)):
            try:
                return RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=dict(options))
            except Exception as error:  # SQLAlchemy, alembic and every driver have their own
                # Optuna looks for its tables and then makes them, so two who begin at once stumble over each other.
                if not left or not any(word in str(error).lower() for word in ("exists", "unique", "locked")):
                    raise self._down(error) from None
                time.sleep(0.25)
        raise AssertionError("the last try returns or raises")

    def _down(self, error: BaseException) -> UserError:
        if isinstance(error, RuntimeError) and "table schema" in str(error):
            return UserError(f"the sweep storage {self.where} was made by another version of Optuna; name a new one")
        return UserError(
            f"the sweep storage {self.where} cannot be used ({self._reason(error)}); start or mend it, or name another "
            "in SWEEP_STORAGE; the same call then goes on where it was"
        )

    def _reason(self, error: BaseException) -> str:
        """The first line of the driver's own words, without the password."""
        while (cause := getattr(error, "orig", None) or error.__cause__) is not None:
            error = cause
        line = (str(error).strip().splitlines() or [""])[0][:200] or type(error).__name__
        password = self._address.password if self._address else None
        return line.replace(str(password), "<password>") if password else line


def journal_path(url: str) -> Path | None:
    """The file of a journal, None where `url` names no journal."""
    if url.startswith("journal:"):
        return Path(url.removeprefix("journal:")).expanduser()
    return Path(url).expanduser() if "://" not in url and url.endswith((".journal", ".log")) else None


def exists(url: str | None = None) -> bool:
    """Whether a storage in a file is there already; true for any other, which only asking can tell."""
    url = _url(url)
    path = journal_path(url)
    if path is None and (address := _parse(url)).get_backend_name() == "sqlite":
        path = Path(address.database)
    return path is None or path.exists()


def _url(url: str | None) -> str:
    return str(url or "") or os.environ.get("SWEEP_STORAGE") or f"sqlite:///{outputs() / 'sweeps.db'}"


def _parse(url: str) -> URL:
    try:
        address = make_url(url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise UserError(f"SWEEP_STORAGE names no storage; give {KINDS}") from None
    if address.get_backend_name() == "sqlite" and address.database in (None, "", ":memory:"):
        raise UserError("a sweep cannot be kept in memory, where no other worker sees it; give sqlite:///FILE")
    return address


def _public(url: URL) -> str:
    """The URL without user, password and options, any of which may be a secret."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    port = f":{url.port}" if url.port else ""
    return f"{url.get_backend_name()}://{url.host or 'localhost'}{port}/{url.database or ''}"


def _with_driver(url: URL) -> URL:
    """The URL with a driver that is installed. Raises UserError where there is none."""
    backend = url.get_backend_name()
    if url.drivername == "postgresql" and not find_spec("psycopg") and find_spec("psycopg2"):
        url = url.set(drivername="postgresql+psycopg2")
    try:
        dialect = url.get_dialect()
    except (sqlalchemy.exc.NoSuchModuleError, ImportError):
        raise UserError(f"there is no sweep storage of the kind '{url.drivername}'; give {KINDS}") from None
    try:
        dialect.import_dbapi()
    except ImportError as error:
        raise UserError(
            f"a {backend} sweep storage needs the Python package {error.name or dialect.driver}; install it"
        ) from None
    if backend == "sqlite":
        writable(Path(url.database).parent)
    return url


def _open_journal(path: Path) -> BaseStorage:
    writable(path.parent)
    lock = JournalFileSymlinkLock(str(path))
    with writing(path):
        backend = JournalFileBackend(str(path), lock_obj=lock)
        lock.acquire()
        try:
            _drop_torn_line(path)
        finally:
            lock.release()
    try:
        return JournalStorage(backend)
    except (ValueError, KeyError) as error:
        raise UserError(
            f"the sweep journal {path} cannot be read ({type(error).__name__}); name another file in SWEEP_STORAGE"
        ) from None


def _drop_torn_line(path: Path) -> None:
    """A writer that was killed may leave half a line, on which the next one would write: then nobody could read it."""
    text = path.read_bytes()
    if text and not text.endswith(b"\n"):
        os.truncate(path, text.rfind(b"\n") + 1)


def quiet() -> None:
    """No reports by Optuna, which knows our trials by other numbers."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
