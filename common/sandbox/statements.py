"""Running SQL text in a guarded connection: parting it into statements, bounded fetching, and a name for each failure.

The text is only parted at its semicolons here, by one linear pattern; it is parsed by SQLite alone.
"""

import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from common.sandbox.connections import SQL_LENGTH, Handle
from common.sandbox.database import Database

MAX_ROWS = 10_000
MAX_BYTES = 4_000_000
VALUE_BYTES = 16  # a value counts so much beside its text or blob, so that comparing stays short
_WITH_LENGTH = (str, bytes)
Row = tuple[object, ...]
Enough = Callable[[list[Row]], bool]

# Unclosed strings and comments run to the end, so that no text costs more than linear time.
TOKEN = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))|(?P<space>\s+)"
    r"|(?P<string>'[^']*(?:''[^']*)*(?:'|\Z))"
    r"""|(?P<name>"[^"]*(?:""[^"]*)*(?:"|\Z)|`[^`]*(?:``[^`]*)*(?:`|\Z)|\[[^\]]*(?:\]|\Z))"""
    r"|(?P<word>[^\W\d][\w$]*)|(?P<number>\d[\w.]*)|(?P<sign>.)",
    re.DOTALL,
)
_TRIGGER = re.compile(r"(?:explain )?(?:query plan )?create (?:temp |temporary )?trigger ")
_TOO_LARGE = re.compile(
    r"too (?:big|large|many|much|complex|long)|out of memory|is full|parser stack overflow|LIKE or GLOB pattern"
    r"|at most \d+"
)
_SYNTAX = re.compile(r"incomplete input|unrecognized token|unterminated|clause should come")
# At the message's beginning, since the name that follows may hold anything.
_SCHEMA = re.compile(
    r"(?:error in (?:view|trigger|index) .*: )?(?:no such|table .* has no column named|ambiguous column"
    r"|no tables specified|unknown (?:column|function|database)|wrong number of arguments|cannot join using column)"
)


class Failure(Exception):
    """A statement did not come to its end; `outcome` is a verdict's name for it, `detail` one line."""

    def __init__(self, outcome: str, detail: str):
        super().__init__(detail)
        self.outcome, self.detail = outcome, detail


@dataclass(slots=True)
class Result:
    """What one statement returned: its rows and the number of its columns."""

    rows: list[Row]
    width: int


@dataclass(slots=True)
class Room:
    """How many rows, and bytes of them, statements may return together; `rows` and `size` are taken already."""

    most_rows: int = MAX_ROWS
    most_bytes: int = MAX_BYTES
    rows: int = 0
    size: int = 0


def split(sql: str) -> list[str]:
    """The statements of a text without their semicolons; comments and stray semicolons alone are none."""
    if "--" not in sql and "/*" not in sql and ";" not in sql.rstrip().removesuffix(";"):  # nine of ten, at a tenth
        only = sql.rstrip().removesuffix(";")
        return [only] if only.strip() else []
    statements: list[str] = []
    start, head = 0, ""
    before, last = "", ""  # the two tokens before this one
    for token in TOKEN.finditer(sql):
        kind = token.lastgroup
        if kind in ("comment", "space"):
            continue
        text = token.group()
        if text != ";":
            if len(head) < 60:
                head += text.lower() + " "
        elif not head:
            start = token.end()
        # A trigger's body has semicolons of its own; as for SQLite's own shell it ends with "; END;".
        elif not _TRIGGER.match(head) or (before == ";" and last.lower() == "end"):
            statements.append(sql[start : token.start()])
            start, head = token.end(), ""
        before, last = last, text
    return [*statements, sql[start:]] if head else statements


def check(sql: str) -> None:
    """Refuse text that SQLite could not be given as it is. Raises Failure."""
    if "\0" in sql:
        raise Failure("syntax_error", "a NUL character in the statement")
    try:
        size = len(sql.encode())
    except UnicodeEncodeError:
        raise Failure("syntax_error", "a lone surrogate in the statement") from None
    if size > SQL_LENGTH:
        raise Failure("too_large", f"{size} bytes of SQL, at most {SQL_LENGTH} are run")


def execute(handle: Handle, statement: str, *, room: Room | None = None, enough: Enough | None = None) -> Result | None:
    """Run one statement to its end: its Result, or None where it returns no columns. Raises Failure.

    room: for the rows, where other statements share it. enough: told the rows so far, may end the reading early.
    """
    try:
        cursor = handle.connection.execute(statement)
        if cursor.description is None:
            return None
        return Result(fetch(cursor, room or Room(), enough), len(cursor.description))
    except (sqlite3.Error, sqlite3.Warning, MemoryError, ValueError, OverflowError) as error:
        raise failure(error, handle) from error


def fetch(cursor: sqlite3.Cursor, room: Room, enough: Enough | None = None) -> list[Row]:
    """All rows of a cursor. Raises Failure where the room is too small; a value takes 16 bytes, and those of its text
    or blob."""
    rows: list[Row] = []
    size, most_rows, most_bytes = room.size, room.most_rows - room.rows, room.most_bytes
    for row in cursor:
        rows.append(row)
        size += VALUE_BYTES * len(row)
        for value in row:
            if value.__class__ in _WITH_LENGTH:
                size += len(value)
        if enough is not None and enough(rows):
            break
        if len(rows) > most_rows:
            raise Failure("too_large", f"more than {room.most_rows} rows")
        if size > most_bytes:
            raise Failure("too_large", f"more than {most_bytes} bytes of rows")
    room.rows += len(rows)
    room.size = size
    return rows


def failure(error: BaseException, handle: Handle) -> Failure:
    """The verdict's name for an error of SQLite."""
    text = " ".join(str(error).split())[:200] or type(error).__name__
    if handle.guard.refusal:
        return Failure("forbidden", f"{handle.guard.refusal} is not allowed")
    if handle.guard.over_budget:
        budget = handle.guard.budget
        calls = handle.guard.calls > budget.calls
        return Failure("budget", f"more than {budget.calls} date calls" if calls else f"more than {budget.steps} steps")
    if isinstance(error, MemoryError):
        return Failure("too_large", "out of memory")
    if isinstance(error, sqlite3.IntegrityError):
        return Failure("runtime_error", text)
    if _SCHEMA.match(text):
        return Failure("schema_error", text)
    if "syntax error" in text or _SYNTAX.search(text):
        return Failure("syntax_error", text)
    if isinstance(error, sqlite3.DataError) or _TOO_LARGE.search(text):
        return Failure("too_large", text)
    return Failure("runtime_error", text)


def run_queries(database: Database, statements: list[str], *, seed: int) -> list[Result] | None:
    """Results of statements that only read, or None where one of them would write. Raises Failure."""
    handle = database.reader
    handle.guard.begin("read", seed=seed)
    results, room = [], Room()
    for statement in statements:
        try:
            result = execute(handle, statement, room=room)
        except Failure:
            if handle.guard.wants_write:
                return None
            raise
        if result is None:  # no columns: no query
            return None
        results.append(result)
    return results
