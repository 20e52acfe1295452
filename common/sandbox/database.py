"""Databases in memory: one image, a shared connection for queries, a private copy for each statement that writes.

Connections hold SQLite's limits, a `Guard`, the frozen clock and the seeded random numbers. Text that is not UTF-8 is
kept as it is (surrogateescape), so that it never equals other text or a blob.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from common.sandbox import functions
from common.sandbox.guard import ORDINARY, Guard, budget_of

HEAP_LIMIT = 64 * 2**20  # of SQLite, all connections of the process together
MAX_PAGES = 2048  # a private copy may grow by so many pages, 8 MB
MAX_SCHEMA_PAGES = 4096
LENGTH = 100_000
SQL_LENGTH = 20_000
SCHEMA_LENGTH = 1_000_000
# Set once the schema is loaded, for everything that runs in the database.
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: LENGTH,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: SQL_LENGTH,
    sqlite3.SQLITE_LIMIT_COLUMN: 200,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 1000,  # SQLite's own
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 50_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 64,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 10,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_SCHEMA_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: SCHEMA_LENGTH,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
SETTINGS = ("foreign_keys", "recursive_triggers")  # of a connection, not of the file, that a script may set
MOST_SPARE = 8
LARGEST_SPARE = 2**20  # bytes of the content that a spare connection goes on holding
_UTF8 = (1).to_bytes(4, "big")  # the encoding in a file's header; 0 in a file without a table
_decode = partial(str, encoding="utf-8", errors="surrogateescape")


class Unloadable(Exception):
    """The schema or the file does not make a database; the text says why."""


@dataclass
class Handle:
    """A connection and the guard that watches over it."""

    connection: sqlite3.Connection
    guard: Guard


_STATEFUL = (
    *("pragma", "attach", "detach", "vacuum", "begin", "commit", "rollback", "savepoint", "analyze", "reindex"),
    *("virtual", "changes", "total_changes", "last_insert_rowid", "temp", "temporary"),
)
_STATEFUL_WORD = re.compile(rf"\b(?:{'|'.join(_STATEFUL)})\b")
_spare: list[Handle] = []


def _seems_plain(schema: str) -> bool:
    """Whether no word of a script hints at more than definitions and rows."""
    text = schema.lower()
    if "sqlite_" in text:
        return False
    return not any(word in text for word in _STATEFUL) or not _STATEFUL_WORD.search(text)  # the pattern alone is slow


def set_heap_limit() -> None:
    """Limit SQLite's heap in this process; it can only be lowered afterwards."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"PRAGMA hard_heap_limit={HEAP_LIMIT}")
        connection.execute("SELECT random()")  # SQLite reads its own seed now, while files may still be opened


class Database:
    """A database that statements run in: built from a script, or a private copy of a file's bytes."""

    def __init__(self, *, schema: str = "", file: bytes | None = None, settings: dict[str, int] | None = None):
        """Raises Unloadable where the script fails or the bytes are no database.

        settings: values of SETTINGS that hold for a file; a script says so itself.
        """
        self._schema = schema
        self._file = file
        self.settings = settings or {}
        self.budget = ORDINARY
        self._image: bytes | None = None
        self._by_script = False
        # Whether the image is all there is: no temporary objects, settings, counters, clock or random numbers, and no
        # other encoding than the one that a used connection keeps.
        self.is_plain = _seems_plain(schema) if file is None else file[56:60] == _UTF8
        self._is_spare = False  # the reader goes back to the spare ones
        self.reader = self._load()
        self.size = len(self._image or b"")

    def close(self) -> None:
        """Close the shared connection, or keep it for the next database: it has only ever read."""
        if self._is_spare and len(_spare) < MOST_SPARE and self.size <= LARGEST_SPARE:
            _spare.append(self.reader)
        else:
            self.reader.connection.close()

    @contextmanager
    def copy(self) -> Iterator[Handle]:
        """A private copy, closed at the end. Raises Unloadable, above all where there is no room for one."""
        handle = self._open_copy()
        try:
            yield handle
        finally:
            handle.connection.close()

    def _open_copy(self) -> Handle:
        try:
            with _close_on_error(_connect(None if self._by_script else self._image)) as handle:
                if self._by_script:
                    self._run_script(handle)
                handle.guard.begin("inspect")
                pages = handle.connection.execute("PRAGMA page_count").fetchone()[0]
                handle.connection.execute(f"PRAGMA max_page_count={pages + MAX_PAGES}")
                for name, value in self.settings.items():
                    handle.connection.execute(f"PRAGMA {name}={value}")
                return self._settle(handle)
        except (sqlite3.Error, sqlite3.Warning, MemoryError, ValueError) as error:
            raise Unloadable(f"no copy of the database could be made: {str(error) or 'out of memory'}") from error

    def fill_published(self, connection: sqlite3.Connection) -> bool:
        """Put the file's content into a plain connection; False where the database comes from a script."""
        if self._file is None:
            return False
        self.deserialize_into(connection)
        return True

    def deserialize_into(self, connection: sqlite3.Connection) -> None:
        """Put the content into a connection without an authorizer, in place of what it held."""
        if self._image:
            connection.deserialize(self._image)

    def _load(self) -> Handle:
        try:
            if self._file is None:
                handle = self._from_script()
            else:
                handle = self._from_file(_rollback_mode(self._file))
            if not self._is_spare:
                functions.without_counters(handle.connection, handle.guard)
            return handle
        except (sqlite3.Error, sqlite3.Warning, MemoryError, ValueError) as error:
            raise Unloadable(str(error) or "out of memory") from error

    def _from_file(self, image: bytes) -> Handle:
        self._image = image
        self._is_spare = self.is_plain
        with _close_on_error(_borrow(image) if self._is_spare else _connect(image)) as handle:
            handle.guard.begin("inspect")
            handle.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return self._settle(handle)

    def _from_script(self) -> Handle:
        self._is_spare = self.is_plain
        with _close_on_error(_borrow(_EMPTY) if self.is_plain else _connect(None)) as handle:
            try:
                self._run_script(handle)
            except (sqlite3.Error, sqlite3.Warning, MemoryError, ValueError) as error:
                why = handle.guard.refusal and f"{handle.guard.refusal} is not allowed"
                raise Unloadable(why or str(error) or type(error).__name__) from error
            self.is_plain &= not handle.guard.volatile
            handle.guard.begin("inspect")
            if not self._is_spare:
                execute = handle.connection.execute
                self.settings = {name: execute(f"PRAGMA {name}").fetchone()[0] for name in SETTINGS}
                # Temporary objects are in no image: such a script is run again for each copy.
                self._by_script = bool(execute("SELECT 1 FROM sqlite_temp_master LIMIT 1").fetchall())
                if not execute("PRAGMA page_count").fetchone()[0]:
                    return self._settle(handle)
            self._image = handle.connection.serialize()
            return self._settle(handle)

    def _run_script(self, handle: Handle) -> None:
        _room_for_script(handle)
        handle.connection.executescript(self._schema)
        if handle.connection.in_transaction:
            handle.connection.execute("COMMIT")

    def _settle(self, handle: Handle) -> Handle:
        """What holds from here on for a connection that reads."""
        for limit, value in LIMITS.items():
            handle.connection.setlimit(limit, value)
        self.budget = handle.guard.budget = budget_of(len(self._image or b""))
        handle.guard.begin("read")
        return handle


@contextmanager
def blank(image: bytes | None) -> Iterator[Handle]:
    """A connection for databases of our own making: may define and write, with no more room than a script has."""
    handle = _connect(image)
    try:
        _room_for_script(handle)
        yield handle
    finally:
        handle.connection.close()


def _room_for_script(handle: Handle) -> None:
    handle.guard.begin("inspect")
    handle.connection.execute(f"PRAGMA max_page_count={MAX_SCHEMA_PAGES}")
    handle.guard.begin("schema")
    handle.guard.budget = ORDINARY
    for limit, value in SCHEMA_LIMITS.items():  # all of them: a spare connection has those of its last queries
        handle.connection.setlimit(limit, value)


def _borrow(image: bytes) -> Handle:
    """A spare connection with the image in place of what it read before: several times faster than a new one."""
    while _spare:
        with suppress(sqlite3.Error):  # where something still reads in it, it is given up
            return _replace(_spare.pop(), image)
    handle = _connect(None)
    functions.without_counters(handle.connection, handle.guard)
    return _replace(handle, image)


def _replace(handle: Handle, image: bytes) -> Handle:
    with _close_on_error(handle):
        handle.connection.set_authorizer(None)  # to SQLite this is an ATTACH
        handle.connection.deserialize(image)
        handle.guard.attach(handle.connection)
    return handle


@contextmanager
def _close_on_error(handle: Handle) -> Iterator[Handle]:
    try:
        yield handle
    except BaseException:
        handle.connection.close()
        raise


def _defaults() -> tuple[bytes, dict[int, int]]:
    """An image without a table, and SQLite's own values of the limits."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version=1")
        connection.execute("PRAGMA user_version=0")
        return connection.serialize(), {limit: connection.getlimit(limit) for limit in LIMITS}


_EMPTY, _DEFAULT_LIMITS = _defaults()
SCHEMA_LIMITS = _DEFAULT_LIMITS | _SCHEMA_LIMITS


def _connect(image: bytes | None) -> Handle:
    # No statement cache: a cached statement is not shown to the authorizer again.
    connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=0)
    if image:
        try:
            connection.deserialize(image)
        except BaseException:
            connection.close()
            raise
    connection.text_factory = _decode
    connection.execute("PRAGMA temp_store=2")
    guard = Guard()
    functions.install(connection, guard, longest=LENGTH)
    guard.attach(connection)
    return Handle(connection, guard)


def _rollback_mode(file: bytes) -> bytes:
    """The bytes with write-ahead logging switched off in the header: a log beside the file is not read."""
    return file[:18] + b"\x01\x01" + file[20:] if file[18:20] == b"\x02\x02" else file
