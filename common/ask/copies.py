"""A private copy of a SQLite file, its tables, and the words for a file that is none.

The copy has what is still in the file's write-ahead log. Not covered: encrypted files, and files larger than the
sandbox holds.
"""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from common.sandbox.pool import LARGEST_FILE
from common.scoring.state import quote
from common.settings import UserError

MAGIC = b"SQLite format 3\0"
MOST_SECONDS = 5.0  # of one query that reads the copy for a prompt or a hint
MOST_VALUES = 2_000  # different texts of a column that are looked at
Rows = list[tuple[object, ...]]


@dataclass(frozen=True)
class SourceTable:
    """A table or view of the file. definition: the statement that made it; targets: tables that its keys refer to."""

    name: str
    definition: str
    columns: tuple[str, ...]
    rows: Rows = field(repr=False, default_factory=list)
    targets: tuple[str, ...] = ()
    is_view: bool = False


@dataclass(frozen=True)
class Copy:
    """The private copy of `origin`; `path` is there as long as `open_copy`'s block runs."""

    origin: Path
    path: Path
    tables: tuple[SourceTable, ...]

    def texts(self, table: str, column: str) -> list[str]:
        """Different texts of a column, in order, as many as are looked at."""
        name = f"{quote(column)} COLLATE BINARY"  # a collation of the file's own application is not here
        query = f"SELECT DISTINCT {name} FROM {quote(table)} WHERE typeof({quote(column)}) = 'text' ORDER BY 1"
        return [text for (text,) in self._rows(f"{query} LIMIT {MOST_VALUES}")]

    def holds(self, table: str, column: str, text: str) -> bool:
        """Whether a column has this text."""
        query = f"SELECT 1 FROM {quote(table)} WHERE {quote(column)} = ? COLLATE BINARY LIMIT 1"
        return bool(self._rows(query, (text,)))

    def _rows(self, query: str, parameters: tuple[str, ...] = ()) -> Rows:
        """None where the query fails or takes too long: what is asked here helps a reader, and is no answer."""
        with closing(_connect(self.path)) as connection:
            try:
                return connection.execute(query, parameters).fetchall()
            except sqlite3.Error:
                return []


@contextmanager
def open_copy(file: str | Path, *, rows: int = 3) -> Iterator[Copy]:
    """The copy of a file, removed at the block's end. rows: of each table that are read, for the prompt.

    Raises UserError for what is no SQLite file, has no tables, or is too large.
    """
    origin = Path(file).expanduser()
    _check(origin)
    with tempfile.TemporaryDirectory(prefix="text-to-sql-") as folder:
        path = Path(folder) / "copy.sqlite"
        try:
            _copy(origin, path)
            with closing(_connect(path)) as connection:
                tables = _tables(connection, rows)
        except sqlite3.Error as error:
            raise UserError(f"{origin} cannot be read as a SQLite database ({error}); check the file") from None
        if not tables:
            raise UserError(f"{origin} has no tables; give a database that has some")
        yield Copy(origin, path, tables)


def _check(origin: Path) -> None:
    try:
        if origin.is_dir():
            raise UserError(f"{origin} is a folder; give a SQLite file in it")
        with origin.open("rb") as file:
            head = file.read(len(MAGIC))
        size = origin.stat().st_size
    except FileNotFoundError:
        raise UserError(f"there is no file {origin}; give the path of a SQLite database") from None
    except OSError as error:
        raise UserError(f"{origin} cannot be read ({error.strerror}); check its permissions") from None
    if head and head != MAGIC:
        raise UserError(
            f"{origin} is no SQLite database, or an encrypted one: it does not begin as one; "
            "`sqlite3 new.sqlite '.import --csv rows.csv rows'` makes one of a CSV file"
        )
    if size > LARGEST_FILE:
        raise UserError(
            f"{origin} has {size / 2**20:,.0f} MB, the sandbox holds {LARGEST_FILE // 2**20}; copy the tables that the "
            "question needs to a file of their own"
        )


def _copy(origin: Path, path: Path) -> None:
    """The file with the logs that lie beside it, put into one in the copy; nothing is opened where the file lies.

    Raises sqlite3.Error for a copy that is no sound database, as of a file that is being written.
    """
    for ending in ("", "-wal", "-journal"):
        source = origin.with_name(origin.name + ending)
        if source.is_file():
            shutil.copyfile(source, path.with_name(path.name + ending))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("it is damaged, or was written meanwhile")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    end = time.monotonic() + MOST_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > end, 10_000)
    return connection


def _tables(connection: sqlite3.Connection, rows: int) -> tuple[SourceTable, ...]:
    """Tables, then views, in the order in which they were made; no shadow tables of a module, no virtual ones."""
    kinds = {name: kind for _, name, kind, *_ in connection.execute("PRAGMA table_list").fetchall()}
    definitions = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view') AND sql <> '' ORDER BY type, rowid"
    ).fetchall()
    return tuple(
        _table(connection, name, sql, rows, kinds[name] == "view")
        for name, sql in definitions
        if kinds.get(name) in ("table", "view")
    )


def _table(connection: sqlite3.Connection, name: str, sql: str, rows: int, is_view: bool) -> SourceTable:
    try:
        cursor = connection.execute(f"SELECT * FROM {quote(name)} LIMIT {0 if is_view else rows}")
        columns, first = tuple(column[0] for column in cursor.description), cursor.fetchall()
    except sqlite3.Error:  # a view of what is gone, or a module that is not here
        columns, first = (), []
    keys = connection.execute(f"PRAGMA foreign_key_list({quote(name)})").fetchall()
    return SourceTable(name, sql, columns, first, tuple(dict.fromkeys(key[2] for key in keys)), is_view)
