"""The task of a worker process that looks at one reference: what it returns, what it does, what it leaves open.

Runs in the sandbox; rows never leave it. Not imported by the parent.
"""

from collections.abc import Callable
from typing import Any

from common.sandbox import connections
from common.sandbox.database import Database, Unloadable
from common.sandbox.statements import Failure
from common.sandbox.worker import allow
from common.scoring import ordering
from common.scoring.running import Reference, first_run
from common.scoring.state import quote

Say = Callable[..., None]
MOST_LITERAL_ROWS, MOST_LITERAL_CHARACTERS = 40, 4_000

connections.set_heap_limit()
_files: dict[str, bytes] = {}


def hold(key: str, content: bytes) -> None:
    """Keep a database file's bytes for the work that names it."""
    _files[key] = content


def drop(key: str) -> None:
    """Forget a file."""
    _files.pop(key, None)


def run(shared: dict[str, Any], items: list[Any], file: str | None, say: Say) -> None:
    """Look at references of one database, items of [SQL].

    Parts given for each: outcome (`runs`, `reference_error`, `reference_nondeterministic`, `schema_invalid`), detail,
    schema_rows; of one that runs also rows, columns, writes, all_null, ties, cut, unordered, literals.
    """
    say(None, "schema")
    try:
        database = Database(file=_files[file]) if file else Database(schema=shared["schema"])
    except Unloadable as error:
        for item in range(len(items)):
            say(item, None, {"outcome": "schema_invalid", "detail": str(error), "schema_rows": False})
        return
    allow(database.budget.seconds)
    try:
        rows_part = {"schema_rows": _has_rows(database)}
        for item, (sql,) in enumerate(items):
            say(item, "reference", rows_part)
            try:
                parts = {"outcome": "runs", "detail": "", **_facts(first_run(database, sql))}
            except Failure as failure:
                parts = {"outcome": failure.outcome, "detail": failure.detail}
            say(item, None, parts)
    finally:
        database.close()


def _has_rows(database: Database) -> bool:
    handle = database.reader
    handle.guard.begin("inspect")
    names = handle.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return any(handle.connection.execute(f"SELECT 1 FROM {quote(name)} LIMIT 1").fetchall() for (name,) in names)


def _facts(reference: Reference) -> dict[str, Any]:
    run, statement = reference.run, reference.statements[-1]
    rows = [row for result in run.results for row in result.rows]
    writes = run.state is not None
    # Order is followed for one query alone, as the scorer does.
    single = not writes and len(reference.statements) == 1
    limit, order = (single and ordering.has_outer(statement, word) for word in ("limit", "order"))
    blocks = [block for each in reference.orders() for block in each] if order else []
    return {
        "rows": len(rows),
        "columns": run.results[-1].width if run.results else 0,
        "writes": writes,
        "all_null": bool(rows) and all(value is None for row in rows for value in row),
        "ties": any(_differ(block) for block in blocks),
        "cut": any(len(block.rows) > block.stop - block.start and _differ(block) for block in blocks),
        "unordered": bool(limit and not order),
        "literals": None if writes or not rows else _literals(rows),
    }


def _literals(rows: list[tuple]) -> list[list[str]] | None:
    """A short result's values as SQL; None where there are too many, or one that SQL text cannot hold."""
    texts = [[_literal(value) for value in row] for row in rows[:MOST_LITERAL_ROWS]]
    is_short = (
        len(rows) <= MOST_LITERAL_ROWS and sum(len(text) for row in texts for text in row) < MOST_LITERAL_CHARACTERS
    )
    return texts if is_short and all(text for row in texts for text in row) else None


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'" if value.isprintable() else ""  # bytes that are no UTF-8 are not
    return repr(value) if abs(value) < 1e300 else ""


def _differ(block: ordering.Block) -> bool:
    return len({repr(row) for row in block.rows}) > 1
