"""Runs a drafted query on its own database and says whether it is worth asking.

Covers: it runs; a SELECT has rows and not only NULL; every weaker variant gives another result (so no part of the
query is for show); sort keys have no ties; aggregates see enough rows; a write changes something, but not all. It
does not prove that a wrong query cannot give the right answer by luck.
"""

import sqlite3
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Draft:
    """A query, ways to ask for it, and what to check.

    `weaker` are queries whose result must differ from the reference's, `keys` gives sort keys that must all differ,
    `enough` counts rows and must be at least 2, `target` is the table a write must change in part, and `probe` is
    checked in place of a definition.
    """

    questions: tuple[str, ...]
    sql: str
    weaker: tuple[str, ...] = ()
    keys: str = ""
    enough: str = ""
    target: str = ""
    probe: str = ""


def holds(draft: Draft, context: str) -> bool:
    connection = _connection()
    connection.execute("BEGIN")
    try:
        for statement in context.split("; "):  # no generated value holds a semicolon
            connection.execute(statement)
        if draft.target:
            return _changes_part(connection, draft)
        return _answers(connection, draft)
    except sqlite3.Error:
        return False
    finally:
        connection.execute("ROLLBACK")


@cache
def _connection() -> sqlite3.Connection:
    """One database in memory for all checks: a rolled back transaction is cheaper than a new database."""
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


def _answers(connection: sqlite3.Connection, draft: Draft) -> bool:
    if draft.enough and connection.execute(draft.enough).fetchone()[0] < 2:
        return False
    if draft.keys:
        keys = connection.execute(draft.keys).fetchall()
        if len(set(keys)) < len(keys):
            return False
    result = connection.execute(draft.sql)
    if result.description is None and not draft.probe:  # a definition: it ran, that is all
        return True
    rows = connection.execute(draft.probe).fetchall() if draft.probe else result.fetchall()
    if not rows or all(value is None for row in rows for value in row):
        return False
    return all(connection.execute(query).fetchall() != rows for query in draft.weaker)


def _changes_part(connection: sqlite3.Connection, draft: Draft) -> bool:
    rows = f"SELECT * FROM {draft.target}"
    before = connection.execute(rows).fetchall()
    connection.execute(draft.sql)
    after = connection.execute(rows).fetchall()
    if len(after) > len(before):  # INSERT
        return after[: len(before)] == before
    if len(after) < len(before):  # DELETE
        return len(after) > 0
    same = sum(old == new for old, new in zip(before, after, strict=True))
    return 0 < same < len(before)
