"""Where a sweep is kept: SQLite, PostgreSQL or another database of SQLAlchemy's, or a journal file.

`SWEEP_STORAGE` names it, a relative path in it counts from the repository's root (from the process's own folder outside
of the repository). A URL may hold a password, so nothing here prints one: errors name host and database only.
"""

import json
import os
import re
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.engine import URL, make_url

from common.settings import UserError, absolute, environment_base, outputs, writable
from common.sweeps.journal import open_journal

KINDS = "sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE, or journal:FILE"
PATIENCE = 60.0  # seconds that a running search waits for a storage that does not answer, before it gives up
_OPENINGS = 8  # tries to open a new database while other workers make its tables


class Storage:
    """An open storage. `call` asks it something, `where` names it without its password."""

    def __init__(self, url: str | None = None):
        place = location(url)
        self._address = None if isinstance(place, Path) else place
        self.where = _public(place) if self._address else str(place)
        self._storage = self._open_database() if self._address else open_journal(place)

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


def location(url: str | None = None) -> Path | URL:
    """A journal's file, or a database's address; the path of a file in full.

    url: None takes SWEEP_STORAGE, or else outputs/sweeps.db. A relative path counts from this process's folder; in
    SWEEP_STORAGE from `environment_base`, so that notebooks and commands of one repository mean the same file. Raises
    UserError for a text that names no storage.
    """
    text, base = str(url or ""), Path.cwd()
    if not text:
        text, base = os.environ.get("SWEEP_STORAGE") or f"sqlite:///{outputs() / 'sweeps.db'}", environment_base()
    if (file := _journal_file(text)) is not None:
        return _full(file, base)
    address = _parse(text)
    if address.get_backend_name() != "sqlite":
        return address
    return address.set(database=str(_full(address.database, base)))


def in_full() -> str:
    """SWEEP_STORAGE as a text that means the same file in every folder. Holds a password if that does; a text that
    names no storage stays as it is, since not every run needs one."""
    try:
        place = location()
    except UserError:
        return os.environ["SWEEP_STORAGE"]
    return f"journal:{place}" if isinstance(place, Path) else place.render_as_string(hide_password=False)


def _full(file: str, base: Path) -> Path:
    """Links are followed: a lock lies beside the file itself, whichever name it is opened by."""
    return Path(os.path.realpath(absolute(re.sub("^/+", "/", file), base)))


def _journal_file(url: str) -> str | None:
    """The file of a journal, None where `url` names no journal."""
    if url.startswith("journal:"):
        if file := url.removeprefix("journal:").removeprefix("//"):
            return file
        raise UserError(f"SWEEP_STORAGE names no storage; give {KINDS}")
    return url if "://" not in url and url.endswith((".journal", ".log")) else None


def _parse(url: str) -> URL:
    try:
        address = make_url(url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise UserError(f"SWEEP_STORAGE names no storage; give {KINDS}") from None
    if address.get_backend_name() == "sqlite":
        if address.host:
            raise UserError("SWEEP_STORAGE names a host, and SQLite has none; give sqlite:///FILE, with three slashes")
        if address.database in (None, "", ":memory:"):
            raise UserError("a sweep cannot be kept in memory, where no other worker sees it; give sqlite:///FILE")
        if address.database.startswith("file:"):
            raise UserError("SWEEP_STORAGE has a file: URL in it; give the file's path, as sqlite:///FILE")
    return address


def missing(url: str | None = None) -> str:
    """The file of a storage that is not there yet; "" where it is, and for any other, which only asking can tell."""
    place = location(url)
    if isinstance(place, URL):
        if place.get_backend_name() != "sqlite":
            return ""
        place = Path(place.database)
    with suppress(OSError):  # what forbids to look is told when the storage is opened
        return "" if place.exists() else str(place)
    return ""


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


def quiet() -> None:
    """No reports by Optuna, which knows our trials by other numbers."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
