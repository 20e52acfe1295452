"""The task of a worker process that executes statements and gives their rows back. Not imported by the parent."""

from collections.abc import Callable, Sequence
from typing import Any

from common.sandbox import connections
from common.sandbox.connections import Handle
from common.sandbox.database import Database, Unloadable
from common.sandbox.statements import Failure, Room, Row, check, failure, fetch, split
from common.sandbox.worker import allow
from common.scoring.running import SEED
from common.scoring.state import quote

Say = Callable[..., None]

connections.set_heap_limit()
_files: dict[str, bytes] = {}


def hold(key: str, content: bytes) -> None:
    """Keep a database file's bytes for the work that names it."""
    _files[key] = content


def drop(key: str) -> None:
    """Forget a file."""
    _files.pop(key, None)


def run(shared: dict[str, Any], items: list[list[str]], file: str | None, say: Say) -> None:
    """Execute texts of one database, items of [SQL].

    shared: schema; most_rows, of a table that are given back. Parts given for each: outcome and detail (as a verdict
    has them, "" where the text came to its end), writes, and tables: those that its queries returned, or where it wrote
    those that differ afterwards, as [name, columns, rows, number of rows, number of rows before].
    """
    say(None, "schema")
    try:
        database = Database(file=_files[file]) if file else Database(schema=shared["schema"])
    except Unloadable as error:
        for item in range(len(items)):
            say(item, None, _failed("schema_invalid", f"the schema does not load: {error}"))
        return
    allow(database.budget.seconds)
    try:
        for item, (sql,) in enumerate(items):
            say(item, "prediction")
            try:
                parts = _execute(database, sql, shared["most_rows"])
            except Failure as error:
                parts = _failed(error.outcome, error.detail)
            except Unloadable as error:
                parts = _failed("too_large", str(error))
            say(item, None, parts)
    finally:
        database.close()


def _failed(outcome: str, detail: str) -> dict[str, Any]:
    return {"outcome": outcome, "detail": " ".join(detail.split())[:300], "writes": False, "tables": []}


def _execute(database: Database, sql: str, most_rows: int) -> dict[str, Any]:
    check(sql)
    statements = split(sql)
    if not statements:
        raise Failure("empty_prediction", "no SQL statement")
    done = {"outcome": "", "detail": ""}
    reader = database.reader
    reader.guard.begin("read", seed=SEED)
    try:
        tables, room = [], Room()
        for statement in statements:
            if (table := _query(reader, statement, room)) is None:
                break
            tables.append(["", table[0], *_cut(table[1], most_rows), None])
        else:
            return done | {"writes": False, "tables": tables}
    except Failure:
        if not reader.guard.wants_write:
            raise
    with database.copy() as handle:
        before = _contents(handle)
        handle.guard.begin("write", seed=SEED)
        room = Room()
        returned = [_query(handle, statement, room) for statement in statements]
        tables = [["", table[0], *_cut(table[1], most_rows), None] for table in returned if table and table[1]]
        after = _contents(handle) if before is not None else None
        if after is None:
            return done | {"writes": True, "tables": tables, "detail": "the tables are too large to be compared"}
        return done | {"writes": True, "tables": tables + _changes(before, after, most_rows)}


def _query(handle: Handle, statement: str, room: Room) -> tuple[list[str], list[Row]] | None:
    """Names of columns and rows of one statement; None where it returns no columns. Raises Failure."""
    try:
        cursor = handle.connection.execute(statement)
        if cursor.description is None:
            return None
        return [str(column[0]) for column in cursor.description], fetch(cursor, room)
    except Exception as error:  # whatever SQLite raises; `failure` names it
        raise error if isinstance(error, Failure) else failure(error, handle) from error


def _contents(handle: Handle) -> dict[str, tuple[list[str], list[Row]]] | None:
    """Each table's columns and rows; None where there are more rows than a statement may return."""
    handle.guard.begin("inspect")
    names = handle.connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    ).fetchall()
    room, contents = Room(), {}
    try:
        for (name,) in names:
            contents[name] = _query(handle, f"SELECT * FROM {quote(name)}", room)
    except Failure:
        return None
    return contents


def _changes(before: dict, after: dict, most_rows: int) -> list[list[Any]]:
    """Tables that are not as they were, by name: those with what they hold now, and those that are gone."""
    changed = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    tables = []
    for name in changed:
        columns, rows = after.get(name, ([], []))
        count = len(before[name][1]) if name in before else None
        tables.append([name, columns, *_cut(rows, most_rows), count])
    return tables


def _cut(rows: Sequence[Row], most: int) -> tuple[list[list[Any]], int]:
    """The first rows as JSON has them, and how many there are."""
    first = [[{"blob": value.hex()} if isinstance(value, bytes) else value for value in row] for row in rows[:most]]
    return first, len(rows)
