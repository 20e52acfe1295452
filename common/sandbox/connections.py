"""Connections to databases in memory, with SQLite's limits, a `Guard`, the frozen clock and the seeded random numbers.

One that has served may serve again, several times faster than a new one, with another database in place of its own.
Text that is not UTF-8 is kept as it is (surrogateescape), so that it never equals other text or a blob.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from common.sandbox import functions
from common.sandbox.guard import ORDINARY, Guard, RunBudget

HEAP_LIMIT = 64 * 2**20  # of SQLite, all connections of the process together
MAX_SCHEMA_PAGES = 4096
LENGTH = 100_000
SQL_LENGTH = 20_000
SCHEMA_LENGTH = 1_000_000
# Set once the schema is loaded, for everything that runs in the database.
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: LENGTH,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: SQL_LENGTH,
    sqlite3.SQLITE_LIMIT_COLUMN: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 50_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 64,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 10,
}
# For scripts and statements alike.
_FIXED_LIMITS = {
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 1000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_decode = partial(str, encoding="utf-8", errors="surrogateescape")


@dataclass
class Handle:
    """A connection and the guard that watches over it."""

    connection: sqlite3.Connection
    guard: Guard


def set_heap_limit() -> None:
    """Limit SQLite's heap in this process; it can only be lowered afterwards."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"PRAGMA hard_heap_limit={HEAP_LIMIT}")
        connection.execute("SELECT random()")  # SQLite reads its own seed now, while files may still be opened


def connect(image: bytes | None) -> Handle:
    """A new connection, to an image or an empty database."""
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
    for limit, value in _FIXED_LIMITS.items():
        connection.setlimit(limit, value)
    guard.attach(connection)
    return Handle(connection, guard)


@contextmanager
def blank(image: bytes | None) -> Iterator[Handle]:
    """A connection for databases of our own making: may define and write, with no more room than a script has."""
    handle = connect(image)
    try:
        room_for_script(handle)
        yield handle
    finally:
        handle.connection.close()


@contextmanager
def close_on_error(handle: Handle) -> Iterator[Handle]:
    """Nothing is left open where a connection cannot be made ready."""
    try:
        yield handle
    except BaseException:
        handle.connection.close()
        raise


def room_for_script(handle: Handle) -> None:
    """What holds while a script makes the database."""
    handle.guard.begin("inspect")
    handle.connection.execute(f"PRAGMA max_page_count={MAX_SCHEMA_PAGES}")
    handle.guard.begin("schema")
    handle.guard.budget = ORDINARY
    for limit, value in SCHEMA_LIMITS.items():  # all of them: a spare connection has those of its last queries
        handle.connection.setlimit(limit, value)


def settle(handle: Handle, budget: RunBudget) -> Handle:
    """What holds from here on for a connection that reads."""
    for limit, value in LIMITS.items():
        handle.connection.setlimit(limit, value)
    handle.guard.budget = budget
    handle.guard.begin("read")
    return handle


@contextmanager
def reading(image: bytes) -> Iterator[Handle]:
    """A connection that reads an image of no special database, for questions of our own."""
    handle = settle(readers.take(image), ORDINARY)
    with close_on_error(handle):
        yield handle
    readers.give(handle)


class Spares:
    """Connections that have served."""

    def __init__(self, most: int, *, hides_counters: bool):
        """most: how many are held. hides_counters: changes() and its kin, which tell what was there before, are 0."""
        self._most, self._hides_counters = most, hides_counters
        self._handles: list[Handle] = []

    def take(self, image: bytes, *, is_watched: bool = True) -> Handle:
        """A connection with this image, and the limits of queries. is_watched: by its authorizer, else by none yet."""
        while self._handles:
            with suppress(sqlite3.Error):  # where something still reads in it, it is given up
                return _replace(self._handles.pop(), image, is_watched)
        handle = settle(connect(None), ORDINARY)
        if self._hides_counters:
            functions.without_counters(handle.connection, handle.guard)
        return _replace(handle, image, is_watched)

    def give(self, handle: Handle, *, clears: bool = False) -> None:
        """Take back a connection, or close it where there are enough. clears: its database is let go of at once."""
        if len(self._handles) >= self._most:
            handle.connection.close()
            return
        with suppress(sqlite3.Error, MemoryError):  # it is closed then
            self._handles.append(_replace(handle, EMPTY, False) if clears else handle)


def _replace(handle: Handle, image: bytes, is_watched: bool) -> Handle:
    connection = handle.connection
    try:
        connection.set_authorizer(None)  # to SQLite this is an ATTACH
        connection.deserialize(image)
        if is_watched:
            connection.set_authorizer(handle.guard.authorize)
    except BaseException:
        connection.close()
        raise
    return handle


def _defaults() -> tuple[bytes, dict[int, int]]:
    """An image without a table, and SQLite's own values of the limits."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version=1")
        connection.execute("PRAGMA user_version=0")
        return connection.serialize(), {limit: connection.getlimit(limit) for limit in LIMITS}


EMPTY, _DEFAULT_LIMITS = _defaults()
SCHEMA_LIMITS = _DEFAULT_LIMITS | {sqlite3.SQLITE_LIMIT_LENGTH: SCHEMA_LENGTH}
readers = Spares(8, hides_counters=True)
writers = Spares(1, hides_counters=False)  # for statements that ask for no counter
