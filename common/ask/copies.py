"""A private copy of a SQLite file, its tables, and the words for a file that is none.

The copy has what is still in the file's write-ahead log. Not covered: encrypted files, and files larger than the
sandbox holds.
"""

import errno
import os
import re
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from common.ask.places import no_room, scratch
from common.paths import expanded, looking
from common.sandbox.pool import LARGEST_FILE
from common.sandbox.statements import TOKEN
from common.scoring.state import quote
from common.settings import UserError

MAGIC = b"SQLite format 3\0"
MOST_SECONDS = 5.0  # of one query that reads the copy for a prompt or a hint
MOST_READ = 10_000  # rows of a table, for the prompt
MOST_VALUES = 2_000  # different texts of a column that are looked at
LOGS = ("-wal", "-journal")  # what SQLite keeps beside the file
COPIES, PAUSE = 5, 0.1  # of a file that is being written, and the seconds between two
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What SQLite's check says of rows that break a rule of their table, and of virtual tables, which are left out. The
# other tables can be read; the file is no less sound.
_OF_RULES = re.compile(
    r"(?:NULL|TEXT|NUMERIC|non-\w+) value in |CHECK constraint failed in "
    r"|In RTree |(?:malformed|unable to validate the) inverted index for "
)
# What only the file's own application has; where a check needs it, the file is taken as it is.
_ABSENT = re.compile(r"no such (?:function|collation sequence|module|tokenizer)|unknown function|unsafe use of")
# The tables in which modules keep a virtual table's content, behind its name and an underscore.
_TEXT_INDEX = ("content", "docsize", "segdir", "segments", "stat")
_TREE = ("node", "parent", "rowid")
_SHADOWS = {"fts3": _TEXT_INDEX, "fts4": _TEXT_INDEX, "fts5": ("config", "content", "data", "docsize", "idx")}
_SHADOWS |= {"rtree": _TREE, "rtree_i32": _TREE, "geopoly": _TREE}
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
    origin = expanded(file)
    _check(origin)
    with scratch() as folder:
        path = folder / "copy.sqlite"
        try:
            _copy(origin, path)
            _check_size(origin, path.stat().st_size)  # with what was in its log
            with closing(_connect(path)) as connection:
                tables = _tables(connection, min(rows, MOST_READ))
        except sqlite3.Error as error:
            if "disk is full" in str(error):
                raise no_room(f"{origin} cannot be copied to {folder}", error) from None
            raise UserError(f"{origin} cannot be read as a SQLite database ({error}); check the file") from None
        if not tables:
            raise UserError(f"{origin} has no tables; give a database that has some")
        yield Copy(origin, path, tables)


def _check(origin: Path) -> None:
    with looking(origin):
        try:
            status = origin.stat()
            if stat.S_ISDIR(status.st_mode):
                raise UserError(f"{origin} is a folder; give a SQLite file in it")
            if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for a writer
                raise UserError(f"{origin} is a pipe or a device; give the SQLite file itself")
            with origin.open("rb") as file:
                head = file.read(len(MAGIC))
        except FileNotFoundError:
            raise UserError(f"there is no file {origin}; give the path of a SQLite database") from None
    if head and head != MAGIC:
        raise UserError(
            f"{origin} is no SQLite database, or an encrypted one: it does not begin as one; "
            "`sqlite3 new.sqlite '.import --csv rows.csv rows'` makes one of a CSV file"
        )
    _check_size(origin, status.st_size)


def _check_size(origin: Path, size: int) -> None:
    if size > LARGEST_FILE:
        raise UserError(
            f"{origin} has {size / 2**20:,.0f} MB, the sandbox holds {LARGEST_FILE // 2**20}; copy the tables that the "
            "question needs to a file of their own"
        )


def _copy(origin: Path, path: Path) -> None:
    """The file with the logs that lie beside it, put into one in the copy; nothing is opened where the file lies.

    Raises sqlite3.Error for a copy that is no sound database, and UserError for a file that is written all the time.
    """
    with looking(origin):
        for _ in range(COPIES):
            if _copy_files(origin, path):
                break
            time.sleep(PAUSE)
        else:
            raise UserError(
                f"{origin} is being written all the time; stop its program, or give a copy of it: "
                f"`sqlite3 '{origin}' '.backup copy.sqlite'`"
            )
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = _decoded
        connection.execute("PRAGMA journal_mode=DELETE")
        if not _is_sound(connection):
            raise sqlite3.DatabaseError("it is damaged")


def _copy_files(origin: Path, path: Path) -> bool:
    """Whether file and logs are of one moment: nothing was written while they were copied."""
    source = os.path.realpath(origin)  # SQLite keeps the logs beside the file, not beside a link to it
    before = _state(source)
    for ending in ("", *LOGS):
        target = path.with_name(path.name + ending)
        target.unlink(missing_ok=True)  # of the attempt before
        if before[ending] or not ending:
            try:
                shutil.copyfile(source + ending, target)
            except FileNotFoundError:  # a log that has just gone into the file
                return False
            except OSError as error:
                if error.errno in _FULL:
                    raise no_room(f"{origin} cannot be copied to {path.parent}", error) from None
                raise
    return _state(source) == before


def _state(source: str) -> dict[str, tuple[int, ...]]:
    """What changes when the file or a log beside it is written; () for a log that is not there."""
    state: dict[str, tuple[int, ...]] = {}
    for ending in ("", *LOGS):
        state[ending] = ()
        with suppress(OSError):
            status = Path(source + ending).stat()
            if stat.S_ISREG(status.st_mode):
                state[ending] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return state


def _is_sound(connection: sqlite3.Connection) -> bool:
    """Whether SQLite can read all of it. Of no concern: rows that break a rule, and what its application alone has."""
    connection.execute("PRAGMA ignore_check_constraints=ON")
    try:
        # All messages, since one about a rule may stand before one about damage.
        messages = connection.execute("PRAGMA quick_check(1000000000)")
        return all(message == "ok" or _OF_RULES.match(message) for (message,) in messages)
    except sqlite3.OperationalError as error:
        if not _ABSENT.search(str(error)):
            raise
        return True


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    connection.text_factory = _decoded
    end = time.monotonic() + MOST_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > end, 10_000)
    return connection


def _tables(connection: sqlite3.Connection, rows: int) -> tuple[SourceTable, ...]:
    """Tables, then views, in the order in which they were made; none of SQLite's own, no virtual ones, and none in
    which a module keeps the content of those."""
    definitions = connection.execute(
        "SELECT name, sql, type = 'view', type = 'table' AND coalesce(rootpage, 0) = 0 FROM sqlite_master "
        "WHERE type IN ('table', 'view') AND sql <> '' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, rowid"
    ).fetchall()
    # Not by PRAGMA table_list, which older SQLite does not have.
    hidden = {name for name, _, _, is_virtual in definitions if is_virtual}
    shadows = {
        f"{name}_{ending}".lower() for name, sql, *_ in definitions if name in hidden for ending in _endings(sql)
    }
    return tuple(
        _table(connection, name, sql, rows, bool(is_view))
        for name, sql, is_view, _ in definitions
        if name not in hidden and (is_view or name.lower() not in shadows)
    )


def _endings(sql: str) -> tuple[str, ...]:
    """What the names of a virtual table's content end with; sql: CREATE VIRTUAL TABLE … USING module."""
    tokens = [token.group() for token in TOKEN.finditer(sql) if token.lastgroup not in ("space", "comment")]
    words = [token.lower() for token in tokens]
    module = words[words.index("using") + 1 :][:1] if "using" in words else []
    return _SHADOWS.get(module[0].strip("\"'`[]"), ()) if module else ()


def _table(connection: sqlite3.Connection, name: str, sql: str, rows: int, is_view: bool) -> SourceTable:
    columns: tuple[str, ...] = ()
    first: Rows = []
    try:
        cursor = connection.execute(f"SELECT * FROM {quote(name)} LIMIT {0 if is_view else rows}")
        columns, first = tuple(column[0] for column in cursor.description), cursor.fetchall()
    # A view of what is gone, a column that needs what is not here, a name that is not UTF-8.
    except (sqlite3.Error, UnicodeDecodeError):
        with suppress(sqlite3.Error):
            columns = tuple(row[1] for row in connection.execute(f"PRAGMA table_xinfo({quote(name)})").fetchall())
    keys = connection.execute(f"PRAGMA foreign_key_list({quote(name)})").fetchall()
    return SourceTable(name, sql, columns, first, tuple(dict.fromkeys(key[2] for key in keys)), is_view)
