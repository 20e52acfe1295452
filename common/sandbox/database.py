"""Databases in memory: one image, a shared connection for queries, a private copy for each statement that writes.

What a connection is, and which ones serve again: `connections`.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

from common.sandbox import connections, functions
from common.sandbox.connections import EMPTY, MAX_SCHEMA_PAGES, Handle, close_on_error
from common.sandbox.guard import ORDINARY, budget_of

MAX_PAGES = 2048  # a private copy may grow by so many pages, 8 MB
PAGE_BYTES = 4096  # SQLite's own, where no PRAGMA says otherwise
SETTINGS = ("foreign_keys", "recursive_triggers")  # of a connection, not of the file, that a script may set
LARGEST_SPARE = 2**20  # bytes of the content that a spare connection goes on holding
_UTF8 = (1).to_bytes(4, "big")  # the encoding in a file's header; 0 in a file without a table


class Unloadable(Exception):
    """The schema or the file does not make a database; the text says why."""


_STATEFUL = {
    *("pragma", "attach", "detach", "vacuum", "begin", "commit", "rollback", "savepoint", "analyze", "reindex"),
    *("virtual", "changes", "total_changes", "last_insert_rowid", "temp", "temporary"),
}
_STATEFUL_WORD = re.compile(rf"\b(?:{'|'.join(_STATEFUL)})\b")
# Words of a script that is watched as it runs: what the guard would refuse is written in one of these, and what could
# take many steps or much room for its length has a query or a trigger in it.
_WATCHED = {
    *("pragma", "attach", "detach", "vacuum", "virtual", "begin", "select", "with", "dbstat", "bytecode"),
    *("tables_used", "load_extension", "fts3_tokenizer"),
}
# Parts of all these words, as few as possible.
_HINTS = (
    *("pragma", "tach", "vacuum", "begin", "commit", "rollback", "savepoint", "analyze", "reindex", "virtual"),
    *("changes", "last_insert_rowid", "temp", "select", "with", "dbstat", "bytecode", "tables_used"),
    *("load_extension", "fts3_tokenizer"),
)
# In what keeps its changes in the connection, or can give more rows than its image has: temporary objects, counters,
# views, generated columns, added columns with their defaults.
_ODD = ("temp", "changes", "last_insert_rowid", "sqlite_", "view", "alter", "generated")
_AS = re.compile(r"\bas\b")


def _character(schema: str) -> tuple[bool, bool]:
    """Whether no word of a script hints at more than definitions and rows; and whether none needs a guard."""
    text = schema.lower()
    if "sqlite_" in text:
        return False, False
    if not any([hint in text for hint in _HINTS]):
        return True, True
    is_plain = not _STATEFUL_WORD.search(text)  # it takes ten times as long
    return is_plain, is_plain and not any(word in text for word in _WATCHED)


def is_simple(text: str) -> bool:
    """Whether no word of a script or statement is one of those that an image cannot answer for."""
    text = text.lower()
    return not any([word in text for word in _ODD]) and not _AS.search(text)


class Database:
    """A database that statements run in: built from a script, or a private copy of a file's bytes."""

    def __init__(
        self,
        *,
        schema: str = "",
        file: bytes | None = None,
        settings: dict[str, int] | None = None,
        renew: Callable[[], None] = lambda: None,
    ):
        """Raises Unloadable where the script fails or the bytes are no database.

        settings: values of SETTINGS that hold for a file; a script says so itself. renew: called before a script is run
        again, so that it has all of its CPU time then.
        """
        self._renew = renew
        self._schema = schema
        self._file = file
        self.settings = settings or {}
        self.budget = ORDINARY
        self._image: bytes | None = None
        self._by_script = False
        # Whether the image is all there is: no temporary objects, settings, counters, clock or random numbers, and no
        # other encoding than the one that a used connection keeps.
        self.is_plain, self._is_harmless = _character(schema) if file is None else (file[56:60] == _UTF8, False)
        self._is_spare = False  # the reader goes back to the spare ones
        self.reader = self._load()
        self.size = len(self._image or b"")

    def close(self) -> None:
        """Close the shared connection, or keep it for the next database: it has only ever read."""
        if self._is_spare and self.size <= LARGEST_SPARE:
            connections.readers.give(self.reader)
        else:
            self.reader.connection.close()

    @cached_property
    def is_simple(self) -> bool:
        """Whether an image holds all that a statement without odd words changes, and all that can be read from it."""
        return self._is_harmless and self.is_plain and is_simple(self._schema)

    @contextmanager
    def copy(self, *, reuses: bool = False) -> Iterator[Handle]:
        """A private copy, closed at the end. Raises Unloadable, above all where there is no room for one.

        reuses: the connection may have served others, for statements and a database that are simple.
        """
        handle = self._open_copy(reuses)
        try:
            yield handle
        except BaseException:
            handle.connection.close()
            raise
        if reuses:
            connections.writers.give(handle, clears=True)
        else:
            handle.connection.close()

    def _open_copy(self, reuses: bool) -> Handle:
        try:
            image = None if self._by_script else self._image
            new = connections.writers.take(image) if reuses else connections.connect(image)
            with close_on_error(new) as handle:
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
        new = connections.readers.take(image) if self._is_spare else connections.connect(image)
        with close_on_error(new) as handle:
            handle.guard.begin("inspect")
            handle.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return self._settle(handle)

    def _from_script(self) -> Handle:
        self._is_spare = self.is_plain
        if self._is_harmless and (handle := self._from_harmless_script()):
            return handle
        if self._is_harmless:  # it did not load within the limits of queries
            self._renew()
        self._is_harmless = False
        with close_on_error(connections.readers.take(EMPTY) if self.is_plain else connections.connect(None)) as handle:
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

    def _from_harmless_script(self) -> Handle | None:
        """A script that the step budget and the limits of queries hold back; None where it is to be watched.

        That is where anything fails, so that the reason is always the same. Only the longest value is as ever: where
        that is too long, format() gives NULL and no error.
        """
        handle = connections.readers.take(EMPTY, is_watched=False)
        connection, guard = handle.connection, handle.guard
        guard.begin("schema")
        guard.budget = ORDINARY
        try:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, connections.SCHEMA_LENGTH)
            connection.executescript(self._schema)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, connections.LENGTH)
            image = connection.serialize()
            if len(image) <= MAX_SCHEMA_PAGES * PAGE_BYTES:
                self.is_plain &= not guard.volatile
                self._image = image
                self.budget = guard.budget = budget_of(len(image))
                guard.begin("read")
                connection.set_authorizer(guard.authorize)
                return handle
        except (sqlite3.Error, sqlite3.Warning, MemoryError, ValueError):
            pass
        connection.close()
        return None

    def _run_script(self, handle: Handle) -> None:
        connections.room_for_script(handle)
        handle.connection.executescript(self._schema)
        if handle.connection.in_transaction:
            handle.connection.execute("COMMIT")

    def _settle(self, handle: Handle) -> Handle:
        self.budget = budget_of(len(self._image or b""))
        return connections.settle(handle, self.budget)


def _rollback_mode(file: bytes) -> bytes:
    """The bytes with write-ahead logging switched off in the header: a log beside the file is not read."""
    return file[:18] + b"\x01\x01" + file[20:] if file[18:20] == b"\x02\x02" else file
