"""The published metric's execution half, as it was: one connection, one cursor, `fetchall` lists compared by ==.

Any exception is no match. Only what could harm the process or outlast it is held back, see `common.scoring`.
"""

import sqlite3
from contextlib import closing

from common.sandbox.database import HEAP_LIMIT, LENGTH, SCHEMA_LENGTH, Database
from common.sandbox.guard import Guard
from common.sandbox.statements import Failure, fetch

MOST_ROWS = 100_000
MOST_BYTES = HEAP_LIMIT // 2


def published_match(schema: str, reference: str, prediction: str, database: Database | None) -> bool:
    """Whether the raw texts give equal lists.

    database: the loaded database; one that comes from a file stands in for running `schema`.
    """
    guard = Guard()
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA temp_store=2")
        filled = database is not None and database.fill_published(connection)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, SCHEMA_LENGTH)
        guard.begin("published")
        guard.attach(connection)
        cursor = connection.cursor()
        try:
            if not filled:
                cursor.executescript(schema)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LENGTH)
            expected = _run(cursor, reference, guard)
            return _run(cursor, prediction, guard) == expected
        except Exception:  # as the original: whatever goes wrong is a mismatch
            return False


def _run(cursor: sqlite3.Cursor, sql: str, guard: Guard) -> list[tuple[object, ...]]:
    guard.begin("published")
    try:
        cursor.execute(sql)
        return fetch(cursor, most_rows=MOST_ROWS, most_bytes=MOST_BYTES)
    except MemoryError:
        raise Failure("too_large", "out of memory") from None
