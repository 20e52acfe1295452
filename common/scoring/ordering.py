"""Order with ties: which orders of its rows a reference with ORDER BY allows.

The reference is run again without LIMIT, with the keys of its ORDER BY as further columns (see `keys`), and SQLite
ranks the rows by them, collations included: rows of one rank may stand in any order, and where LIMIT or OFFSET cuts
such a block any of its rows may be given. The result is trusted only if the reference's own rows satisfy it.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from common.sandbox.database import Handle
from common.sandbox.statements import TOKEN, Failure, Result, Row, execute
from common.scoring.compare import is_contained
from common.scoring.keys import ranking_sql
from common.scoring.query import Query, parse


@dataclass(frozen=True)
class Block:
    """Rows that tie, and the positions of the result that they may take."""

    start: int
    stop: int
    rows: list[Row]


def has_outer(statement: str, keyword: str) -> bool:
    """Whether a keyword (`order`, `limit`) stands outside all parentheses, strings, names and comments."""
    depth = 0
    for token in TOKEN.finditer(statement):
        text = token.group()
        if text in "()":
            depth += 1 if text == "(" else -1
        elif depth == 0 and token.lastgroup == "word" and text.lower() == keyword:
            return True
    return False


def allows(blocks: Sequence[Block], rows: Sequence[Row]) -> bool:
    """Whether rows stand in an order that the blocks allow."""
    return len(rows) == (blocks[-1].stop if blocks else 0) and all(
        is_contained(rows[block.start : block.stop], block.rows) for block in blocks
    )


def blocks_of(statement: str, result: Result, handle: Handle, *, seed: int) -> list[Block] | None:
    """The blocks of a reference's result, or None where its keys cannot be followed.

    handle: a connection that reads the reference's database. seed: of random(), as the reference ran with.
    """
    try:
        query = parse(statement)
        sql = query and ranking_sql(query, result.width, cache(lambda text: _names(handle, text)))
        if not query or not sql:
            return None
        offset = _offset(query, handle, seed)
        blocks = _cut(_run(handle, sql, seed, offset + len(result.rows)), offset, len(result.rows))
    except (Failure, ValueError, IndexError):  # a text in a form that is not foreseen has no ties, and nothing worse
        return None
    return blocks if blocks is not None and allows(blocks, result.rows) else None


def _names(handle: Handle, sql: str) -> list[str] | None:
    """The names of a query's columns, or None where it does not run."""
    handle.guard.begin("read")
    try:
        return [column[0] for column in handle.connection.execute(sql).description]
    except (sqlite3.Error, sqlite3.Warning, MemoryError):
        return None


def _offset(query: Query, handle: Handle, seed: int) -> int:
    """Rows that OFFSET, or the first of `LIMIT a, b`, skips. Raises Failure."""
    if not query.offset:
        return 0
    text = query.text(query.offset)
    rows = _run(handle, f"{query.head}\nSELECT max(CAST(({text}\n) AS INTEGER), 0)", seed, 1)
    return int(rows[0][0])


def _run(handle: Handle, sql: str, seed: int, last: int) -> list[Row]:
    """Rows up to the end of the block of row `last`. Raises Failure."""

    def enough(rows: list[Row]) -> bool:
        return len(rows) > max(last, 1) and rows[-1][-1] != rows[-2][-1]

    handle.guard.begin("read", seed=seed)
    result = execute(handle, sql, enough=enough)
    return result.rows if result else []


def _cut(ranking: list[Row], offset: int, count: int) -> list[Block] | None:
    """Blocks over positions 0 to count of the result, which begins at `offset` of all rows."""
    if len(ranking) < offset + count:
        return None
    blocks: list[Block] = []
    start = 0
    while start < len(ranking) and start < offset + count:
        stop = start
        while stop < len(ranking) and ranking[stop][-1] == ranking[start][-1]:
            stop += 1
        if stop > offset:
            rows = [row[:-1] for row in ranking[start:stop]]
            blocks.append(Block(max(start - offset, 0), min(stop - offset, count), rows))
        start = stop
    return blocks
