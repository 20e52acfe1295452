"""The published metric's execution half, as it was: one connection, one cursor, `fetchall` lists compared by ==.

Any exception is no match. Only what could harm the process or outlast it is held back, see `common.scoring`.

The original runs schema, reference and completion anew for each row. Here the same is had for less where that cannot
show: a schema of plain definitions and rows is copied as an image; completions that only read share a connection and
the reference's rows; and where the strict match has run the very same texts, its rows are compared. Whatever might tell
the difference (a PRAGMA, the counters of changes, SQLite's own catalogues, the clock, random numbers) is run as the
original does.
"""

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from common.sandbox.connections import EMPTY, HEAP_LIMIT, LENGTH, SCHEMA_LENGTH
from common.sandbox.database import Database
from common.sandbox.guard import Guard
from common.sandbox.statements import Failure, Room, fetch
from common.scoring.running import Reference, Run

MOST_ROWS = 100_000
MOST_BYTES = HEAP_LIMIT // 2
LARGEST_SHARED = 2 * 2**20  # bytes; SQLite's heap holds the strict match's database beside it

_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_CHANGES = {
    *(sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE, sqlite3.SQLITE_TRANSACTION),
    *(sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_CREATE_VIEW),
    *(sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_DROP_INDEX, sqlite3.SQLITE_DROP_VIEW, sqlite3.SQLITE_ALTER_TABLE),
}
_VOLATILE = {"date", "time", "datetime", "julianday", "unixepoch", "strftime", "timediff", "random", "randomblob"}
_VOLATILE |= {"current_date", "current_time", "current_timestamp"}
_COUNTERS = {"changes", "total_changes", "last_insert_rowid"}
# A text that begins otherwise fails whatever the database holds. What is left to SQLite: comments, semicolons, a BOM.
_BEGINNING = re.compile(r"[ \t\n\f\r]*(?:([A-Za-z]+)|[`<>*#(\['\"\d])")
_STATEMENTS = {
    *("select", "with", "values", "insert", "replace", "update", "delete", "create", "drop", "alter", "explain"),
    *("pragma", "attach", "detach", "begin", "commit", "end", "rollback", "savepoint", "release", "vacuum"),
    *("analyze", "reindex"),
}
_CHANGES_ROWS = re.compile(r"\s*(?:insert|replace|update|delete)\b", re.IGNORECASE)
_ORDINARY = {"sqlite_master", "sqlite_schema", "sqlite_sequence"}

Rows = list[tuple[object, ...]]
_spare: "list[tuple[sqlite3.Connection, _Watch]]" = []  # one at most


class _Watch(Guard):
    """A guard that also notes what a statement asked for."""

    writes = asks_volatile = asks_state = False

    def forget(self) -> None:
        self.writes = self.asks_volatile = self.asks_state = False

    def authorize(
        self, action: int, first: str | None, second: str | None, database: str | None, source: str | None
    ) -> int:
        if action not in _READS:
            self.writes = True
            self.asks_state |= action not in _CHANGES
        elif action == sqlite3.SQLITE_FUNCTION:
            self.asks_volatile |= (second or "").lower() in _VOLATILE
            self.asks_state |= (second or "").lower() in _COUNTERS
        elif action == sqlite3.SQLITE_READ:
            name = (first or "").lower()
            self.asks_state |= name.startswith("sqlite_") and name not in _ORDINARY
        return super().authorize(action, first, second, database, source)


@dataclass
class Judgement:
    """What the strict match found of one completion: the parts of its verdict, its statements, and their run if any."""

    parts: dict[str, Any]
    statements: list[str]
    run: Run | None = None


class PublishedMetric:
    """The metric for one reference."""

    def __init__(self, schema: str, reference: str, database: Database | None):
        """database: the loaded database, if it loads; one that comes from a file stands in for running `schema`."""
        self._schema, self._reference, self._database = schema, reference, database
        self._shares = database is not None and database.is_plain and database.size <= LARGEST_SHARED
        self._handle: tuple[sqlite3.Connection, _Watch] | None = None
        self._target: Rows | None = None

    def match(self, prediction: str) -> bool:
        """Whether the raw texts give equal lists."""
        if not _may_run(prediction):
            return False
        try:
            answer = self._match_on_image(prediction) if self._shares else None
            return self._match_anew(prediction) if answer is None else answer
        except MemoryError:  # no room for a connection beside a large database
            return False

    def from_strict_match(self, reference: Reference, completion: str, judgement: Judgement) -> bool | None:
        """The answer where the strict match has run the very same texts, which only read; None where it has not."""
        if not _may_run(completion):
            return False
        if self._database is None or not self._database.is_plain:
            return None
        if not (_is_all(self._reference, reference.statements) and _is_all(completion, judgement.statements)):
            return None
        if judgement.parts["outcome"] == "syntax_error" and _is_no_syntax(judgement.parts["detail"]):
            return False
        if reference.run.volatile:
            return None
        is_schema_error = judgement.parts["outcome"] == "schema_error"
        if reference.run.state is not None:  # rows that come or go bring no table that was missing
            return False if is_schema_error and _CHANGES_ROWS.match(self._reference) else None
        if is_schema_error or judgement.parts["outcome"] == "syntax_error":
            return False
        if judgement.run is None or judgement.run.state is not None or judgement.run.volatile:
            return None
        rows = judgement.run.results[0].rows
        return rows == reference.run.results[0].rows and _are_text(rows)

    def close(self) -> None:
        """Give up the shared connection; one that has only read serves the next reference."""
        handle, self._handle = self._handle, None
        if handle is not None:
            _drop_spare()
            _spare.append(handle)

    def _discard(self, *, reuses: bool) -> None:
        """Give up the shared connection. reuses: it serves again, without what was written."""
        (connection, watch), self._handle = self._handle, None
        if not reuses:
            connection.close()
            return
        try:
            connection.rollback()
            connection.set_authorizer(None)
            connection.deserialize(EMPTY)
        except (sqlite3.Error, MemoryError):  # something still reads in it
            connection.close()
            return
        _drop_spare()
        _spare.append((connection, watch))

    def __enter__(self) -> "PublishedMetric":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _match_anew(self, prediction: str) -> bool:
        connection, guard = _connect()
        with closing(connection):
            cursor = connection.cursor()
            try:
                has_content = self._database is not None and self._database.fill_published(connection)
                guard.budget = self._database.budget if self._database is not None else guard.budget
                guard.attach(connection)
                if not has_content:
                    guard.begin("published")
                    cursor.executescript(self._schema)
                connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LENGTH)
                target = _run(cursor, self._reference, guard)
                return _run(cursor, prediction, guard) == target
            except Exception:  # as the original: whatever goes wrong is a mismatch
                return False

    def _match_on_image(self, prediction: str) -> bool | None:
        """The answer, or None where the two texts might see that the schema was not run."""
        connection, watch = self._handle = self._handle or self._open()
        cursor = connection.cursor()
        watch.forget()
        try:
            target = self._target if self._target is not None else _run(cursor, self._reference, watch)
            if watch.asks_state:
                self._shares = False
                return None
            if not watch.writes and not watch.asks_volatile:
                self._target = target
            answer = _run(cursor, prediction, watch) == target
        except Exception:  # as the original
            answer = False
        finally:
            if watch.writes or watch.asks_state:
                self._discard(reuses=not watch.asks_state)
        return None if watch.asks_state else answer

    def _open(self) -> tuple[sqlite3.Connection, _Watch]:
        while _spare:
            handle = _spare.pop()
            try:
                return self._fill(*handle)
            except sqlite3.Error:  # something still reads in it: it is given up
                handle[0].close()
        return self._fill(*_connect())

    def _fill(self, connection: sqlite3.Connection, watch: _Watch) -> tuple[sqlite3.Connection, _Watch]:
        connection.set_authorizer(None)  # to SQLite an image is an ATTACH
        self._database.deserialize_into(connection)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LENGTH)
        watch.budget = self._database.budget
        watch.attach(connection)
        return connection, watch


def _may_run(text: str) -> bool:
    """False for a text that is no SQL from its first word on."""
    beginning = _BEGINNING.match(text)
    return beginning is None or (beginning[1] or "").lower() in _STATEMENTS


def _is_no_syntax(detail: str) -> bool:
    """Whether SQLite's message says that no database makes a statement of the text; a name in it may say anything."""
    return (detail.startswith('near "') and detail.endswith(": syntax error")) or detail == "incomplete input"


def _is_all(text: str, statements: list[str]) -> bool:
    """Whether a text is one statement and nothing else but a semicolon."""
    return len(statements) == 1 and text.removesuffix(";") == statements[0]


def _are_text(rows: Rows) -> bool:
    """Whether no text is broken UTF-8, at which the original stops."""
    return all(value.isascii() or _encodes(value) for row in rows for value in row if isinstance(value, str))


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _drop_spare() -> None:
    while _spare:
        _spare.pop()[0].close()


def _connect() -> tuple[sqlite3.Connection, _Watch]:
    # No statement cache: a cached statement is not shown to the authorizer again.
    connection = sqlite3.connect(":memory:", cached_statements=0)
    connection.execute("PRAGMA temp_store=2")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, SCHEMA_LENGTH)
    return connection, _Watch(mode="published")


def _run(cursor: sqlite3.Cursor, sql: str, guard: Guard) -> Rows:
    guard.begin("published")
    try:
        cursor.execute(sql)
        return fetch(cursor, Room(MOST_ROWS, MOST_BYTES))
    except MemoryError:
        raise Failure("too_large", "out of memory") from None
