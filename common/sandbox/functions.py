"""A clock that stands still and random numbers from a seed, in place of SQLite's own.

Every date function whose time value is 'now', or missing, sees NOW; CURRENT_TIMESTAMP and its kin too. The values are
computed by SQLite itself on a second connection, so that formats and modifiers are exactly its own.
"""

import sqlite3
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from common.sandbox.guard import Guard

NOW = "2024-01-15 12:00:00"
LONGEST_DATE = 40  # characters of a text whose value is kept
# Function: the position of its time value.
_TIME_VALUE = {"date": 0, "time": 0, "datetime": 0, "julianday": 0, "unixepoch": 0, "strftime": 1}
_KEYWORDS = {"current_timestamp": NOW, "current_date": NOW[:10], "current_time": NOW[11:]}


def install(connection: sqlite3.Connection, guard: Guard, *, longest: int) -> None:
    """Put the frozen clock and the seeded random numbers into a connection.

    longest: bytes that randomblob() may give.
    """
    for name, position in _TIME_VALUE.items():
        connection.create_function(name, -1, _date_function(name, position, guard), deterministic=True)
    for name, value in _KEYWORDS.items():
        connection.create_function(name, 0, _volatile_function(value, guard), deterministic=True)
    if sqlite3.sqlite_version_info >= (3, 43):
        connection.create_function("timediff", 2, _difference(guard), deterministic=True)

    def random_integer() -> int:
        guard.count_call()
        return guard.random().getrandbits(64) - 2**63

    def random_blob(size: Any) -> bytes:
        length = max(1, int(size)) if isinstance(size, int | float) else 1
        if length > longest:
            raise OverflowError  # SQLite then says "string or blob too big"
        guard.count_call(1 + length // 1000)
        return guard.random().randbytes(length)

    connection.create_function("random", 0, random_integer)
    connection.create_function("randomblob", 1, random_blob)


def without_counters(connection: sqlite3.Connection, guard: Guard) -> None:
    """Counters of a connection that is shared would tell of what was in it before."""
    for name in ("changes", "total_changes", "last_insert_rowid"):
        connection.create_function(name, 0, _volatile_function(0, guard))


def _volatile_function(value: Any, guard: Guard) -> Callable[[], Any]:
    def function() -> Any:
        guard.volatile = True
        return value

    return function


def _date_function(name: str, position: int, guard: Guard) -> Callable[..., Any]:
    def function(*values: Any) -> Any:
        guard.count_call()
        if all(value.__class__ is str and len(value) <= LONGEST_DATE for value in values):
            return _of_texts(name, position, values)
        return _at_noon(name, position, values)

    return function


def _at_noon(name: str, position: int, values: tuple[Any, ...]) -> Any:
    """A date function's value while the clock shows NOW."""
    arguments = list(values)
    time_value = arguments[position] if len(arguments) > position else None
    if len(arguments) == position or _word(time_value) in ("subsec", "subsecond"):
        arguments.insert(position, NOW)
    elif _word(time_value) == "now":
        arguments[position] = NOW
    return _native(name, arguments)


# A column of dates holds the same few again and again. Of texts only: 1 equals 1.0, but is not written like it.
_of_texts = lru_cache(maxsize=4096)(_at_noon)


def _word(value: Any) -> str:
    """A time value as SQLite reads it: a blob is text, and text ends at a NUL."""
    if isinstance(value, bytes):
        value = value[:20].decode("latin-1")
    return value[:20].split("\0")[0].lower() if isinstance(value, str) else ""


def _difference(guard: Guard) -> Callable[..., Any]:
    def function(*values: Any) -> Any:
        guard.count_call()
        return _native("timediff", [NOW if _word(value) == "now" else value for value in values])

    return function


_pristine: sqlite3.Connection | None = None


def _native(name: str, arguments: list[Any]) -> Any:
    """SQLite's own function, called on a connection where nothing is replaced."""
    global _pristine
    if _pristine is None:
        _pristine = sqlite3.connect(":memory:", check_same_thread=False)
        _pristine.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1_000_000)
    marks = ",".join("?" * len(arguments))
    return _pristine.execute(f"SELECT {name}({marks})", arguments).fetchone()[0]
