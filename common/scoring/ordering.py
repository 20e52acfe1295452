"""Order with ties: which orders of its rows a reference with ORDER BY allows.

The reference is run again without LIMIT, with the keys of its ORDER BY as further columns (see `keys`), and SQLite
ranks the rows by them, collations included: rows of one rank may stand in any order, and where LIMIT or OFFSET cuts
such a block any of its rows may be given.

Keys that are equal within the tolerance of `compare` tie as well: the last bit of a sum says nothing. Where a chain of
near values is longer than the tolerance, a row may stand at the places from the first to the last row that it ties
with, so that a chain of many small steps still has its direction. With several keys, rows that tie by one within the
tolerance are sorted by the next, as SQLite would if they were exact. That may contradict the order which the reference
itself gave, so both are allowed: the order by the exact keys, and the one by keys with a tolerance (in which a chain
that is longer than the tolerance counts exactly). Integers tie only where they are equal.

An order is trusted only if the reference's own rows satisfy it. Not followed: ties inside of a window function, of
which only the numbers it gave are seen.
"""

import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from operator import itemgetter

from common.sandbox.connections import Handle
from common.sandbox.statements import MAX_BYTES, TOKEN, Failure, Result, Room, Row, execute
from common.scoring.compare import is_contained, same_row, same_value
from common.scoring.keys import Ranking, ranking_of
from common.scoring.pairing import PairingBudget, saturates
from common.scoring.query import Query, parse


@dataclass(frozen=True)
class Block:
    """Rows that tie, and the positions of the result that they may take.

    reaches: the first and the last position of each row, where not every row ties with every other; else None.
    """

    start: int
    stop: int
    rows: list[Row]
    reaches: list[tuple[int, int]] | None = None


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


def allows(blocks: Sequence[Block], rows: Sequence[Row], budget: PairingBudget | None = None) -> bool:
    """Whether rows stand in an order that the blocks allow. budget: as of `compare.same_bag`."""
    budget = budget or PairingBudget()
    return len(rows) == (blocks[-1].stop if blocks else 0) and all(
        is_contained(rows[block.start : block.stop], block.rows, budget)
        if block.reaches is None
        else _fit_reaches(rows[block.start : block.stop], block, budget)
        for block in blocks
    )


def _fit_reaches(rows: Sequence[Row], block: Block, budget: PairingBudget) -> bool:
    firsts, lasts = zip(*block.reaches, strict=True)  # both of them rise
    edges = []
    for position, row in enumerate(rows, start=block.start):
        places = range(bisect_left(lasts, position), bisect_right(firsts, position))
        if not budget.take(len(places)):
            return False
        edges.append(sum(1 << place for place in places if same_row(row, block.rows[place])))
    return all(edges) and saturates(edges, len(block.rows), budget)


def orders_of(statement: str, result: Result, handle: Handle, *, seed: int) -> list[list[Block]]:
    """Orders, as blocks, that a reference's keys allow; none where the keys cannot be followed.

    Two where the order by keys with a tolerance is another one. Whether the reference's own rows satisfy them is still
    to be seen.

    handle: a connection that reads the reference's database. seed: of random(), as the reference ran with.
    """
    try:
        query = parse(statement)
        ranking = query and ranking_of(query, result.width, cache(lambda text: _names(handle, text)))
        if not query or not ranking:
            return []
        span = _offset(query, handle, seed), len(result.rows)
        return _orders(ranking, span, lambda sql, enough: _run(handle, sql, seed, enough))
    except (Failure, ValueError, IndexError):  # a text in a form that is not foreseen has no ties, and nothing worse
        return []


_Enough = Callable[[list[Row]], bool]
_Tie = Callable[[Row, Row], bool]
_Reader = Callable[[str, _Enough], list[Row]]


def _orders(ranking: Ranking, span: tuple[int, int], read: _Reader) -> list[list[Block]]:
    """span: rows that OFFSET skips, and rows of the result. read: rows of a query until there are enough."""
    width, count = ranking.width, len(ranking.keys)
    end = max(sum(span), 1)

    def tie(one: Row, other: Row) -> bool:
        return one[-1] == other[-1] or (count == 1 and same_value(one[width], other[width]))

    def tie_first(one: Row, other: Row) -> bool:
        return _tie_by(0, one, other, width, count)

    rows = read(ranking.sql(), lambda rows: len(rows) > end and not tie(rows[end - 1], rows[-1]))
    orders = [_cut(((chain, _reaches(chain, tie)) for chain in _chains(rows, tie)), span, width)]
    keys = [row[width : width + count] for row in rows]
    if count > 1 and any(_are_near(*pair) for one, other in pairwise(keys) for pair in zip(one, other, strict=True)):
        with suppress(Failure, ValueError):  # where too many rows tie by the first key
            rows = read(ranking.sql(each=True), lambda rows: len(rows) > end and not tie_first(rows[end - 1], rows[-1]))
            orders.append(_cut(((block, None) for block in _near_blocks(rows, width, count)), span, width))
    return orders


def _are_near(one: object, other: object) -> bool:
    return one != other and same_value(one, other)


def _chains(rows: Sequence[Row], tie: _Tie) -> Iterator[list[Row]]:
    """Rows in order, parted between two that do not tie."""
    start = 0
    for stop in range(1, len(rows) + 1):
        if stop == len(rows) or not tie(rows[stop - 1], rows[stop]):
            yield list(rows[start:stop])
            start = stop


def _reaches(chain: Sequence[Row], tie: _Tie) -> list[tuple[int, int]] | None:
    """The first and the last row of a chain that each of its rows ties with; None where all of them tie."""
    if tie(chain[0], chain[-1]):
        return None
    firsts, lasts = [], [0] * len(chain)
    for place, row in enumerate(chain):
        first = firsts[-1] if firsts else 0
        while not tie(chain[first], row):
            first += 1
        firsts.append(first)
        for earlier in range(firsts[-2] if place else 0, first):
            lasts[earlier] = place - 1
    lasts[first:] = [len(chain) - 1] * (len(chain) - first)
    return list(zip(firsts, lasts, strict=True))


def _tie_by(key: int, one: Row, other: Row, width: int, count: int) -> bool:
    """Whether rows tie by one of so many keys; a row holds the values of all keys, then the ranks by each."""
    value, rank = width + key, width + count + key
    return one[rank] == other[rank] or same_value(one[value], other[value])


def _near_blocks(rows: Sequence[Row], width: int, count: int, key: int = 0) -> Iterator[list[Row]]:
    """Blocks of rows that tie within the tolerance, sorted by one key after the other."""
    if key == count:
        yield list(rows)
        return
    rank = itemgetter(width + count + key)

    def tie(one: Row, other: Row) -> bool:
        return _tie_by(key, one, other, width, count)

    for chain in _chains(sorted(rows, key=rank), tie):
        blocks = [chain] if tie(chain[0], chain[-1]) else _chains(chain, lambda one, other: rank(one) == rank(other))
        for block in blocks:
            yield from _near_blocks(block, width, count, key + 1)


_Chain = tuple[Sequence[Row], list[tuple[int, int]] | None]


def _cut(chains: Iterable[_Chain], span: tuple[int, int], width: int) -> list[Block]:
    """Blocks over positions 0 to count of the result, which begins at `offset` of all rows. Raises ValueError."""
    offset, count = span
    blocks, start = [], 0
    for rows, reaches in chains:
        stop = start + len(rows)
        if stop > offset and start < offset + count:
            place = max(start - offset, 0), min(stop - offset, count)
            shift = start - offset
            moved = reaches and [(first + shift, last + shift) for first, last in reaches]
            blocks.append(Block(*place, [row[:width] for row in rows], moved))
        start = stop
    if start < offset + count:
        raise ValueError("fewer rows than the reference gave")
    return blocks


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
    rows = _run(handle, f"{query.head}\nSELECT max(CAST(({text}\n) AS INTEGER), 0)", seed, None)
    return int(rows[0][0])


def _run(handle: Handle, sql: str, seed: int, enough: _Enough | None) -> list[Row]:
    """Rows until there are enough. Raises Failure."""
    handle.guard.begin("read", seed=seed)
    room = Room(most_bytes=2 * MAX_BYTES)  # there are keys and ranks among them
    result = execute(handle, sql, room=room, enough=enough)
    return result.rows if result else []
