"""Order with ties: which orders of its rows a reference with ORDER BY allows.

The reference, and never a completion, is parsed here (sqlglot). It is run again without LIMIT, with the keys of its
ORDER BY as further columns, and SQLite ranks the rows by them, collations included: rows of one rank may stand in any
order, and where LIMIT or OFFSET cuts such a block any of its rows may be given. The result is trusted only if the
reference's own rows satisfy it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.sandbox.database import Open
from common.sandbox.statements import TOKEN, Failure, Result, Row, execute
from common.sandbox.worker import trusted
from common.scoring.compare import contained

if TYPE_CHECKING:
    from sqlglot import exp

_RANKED = "ranked_rows_"


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
        contained(rows[block.start : block.stop], block.rows) for block in blocks
    )


def blocks_of(statement: str, result: Result, opened: Open, *, seed: int) -> list[Block] | None:
    """The blocks of a reference's result, or None where its keys cannot be followed.

    opened: a connection that reads the reference's database. seed: of random(), as the reference ran with.
    """
    try:
        ranked = _ranked(statement, result.width)
        if ranked is None:
            return None
        sql, offset = ranked
        blocks = _cut(_run(opened, sql, seed, offset + len(result.rows)), offset, len(result.rows))
    except (Failure, ValueError, RecursionError):
        return None
    return blocks if blocks is not None and allows(blocks, result.rows) else None


def _run(opened: Open, versions: list[str], seed: int, wanted: int) -> list[Row]:
    """Rows of the first version that runs, up to the end of the block of row `wanted`. Raises Failure."""

    def enough(rows: list[Row]) -> bool:
        return len(rows) > wanted and rows[-1][-1] != rows[-2][-1]

    error: Failure | None = None
    for sql in versions:
        opened.guard.begin("read", seed=seed)
        try:
            result = execute(opened, sql, enough=enough)
        except Failure as failure:
            error = failure
        else:
            return result.rows if result else []
    raise error or Failure("runtime_error", "nothing to run")


def _cut(ranked: list[Row], offset: int, count: int) -> list[Block] | None:
    """Blocks over positions 0 to count of the result, which begins at `offset` of all rows."""
    if len(ranked) < offset + count:
        return None
    blocks: list[Block] = []
    start = 0
    while start < len(ranked) and start < offset + count:
        stop = start
        while stop < len(ranked) and ranked[stop][-1] == ranked[start][-1]:
            stop += 1
        if stop > offset:
            rows = [row[:-1] for row in ranked[start:stop]]
            blocks.append(Block(max(start - offset, 0), min(stop - offset, count), rows))
        start = stop
    return blocks


def _ranked(statement: str, width: int) -> tuple[list[str], int] | None:
    """SQL that gives the result's columns and a rank, in versions to be tried in turn, and the reference's offset."""
    with trusted():  # the import opens files and takes a quarter of a second, once
        import sqlglot
        from sqlglot import exp
        from sqlglot.errors import SqlglotError

        sqlglot.parse_one("SELECT a FROM t ORDER BY a LIMIT 1", dialect="sqlite").sql(dialect="sqlite")
    try:
        tree = sqlglot.parse_one(statement, dialect="sqlite")
    except SqlglotError:
        return None
    order = tree.args.get("order")
    offset = _offset(tree, exp)
    if not isinstance(tree, exp.Select | exp.SetOperation) or order is None or offset is None:
        return None
    body = tree.copy()
    for part in ("order", "limit", "offset"):
        body.set(part, None)
    names = _names(tree, exp)
    keys: list[tuple[int, str]] = []
    added: list[exp.Expression] = []
    for term in order.expressions:
        expression, collation = _bare(term.this if isinstance(term, exp.Ordered) else term, exp)
        column = _column(expression, names, tree, width, exp)
        if column is None:
            if not isinstance(tree, exp.Select) or tree.args.get("distinct"):
                return None
            added.append(expression)
            column = width + len(added)
        keys.append((column, collation + _direction(term)))
    columns = [f"c{i}" for i in range(1, width + len(added) + 1)]
    rank = "dense_rank() OVER (ORDER BY " + ", ".join(f"c{column}{how}" for column, how in keys) + ")"
    versions = []
    # An alias inside an expression means the column of that name, or the aliased expression where there is none.
    for expressions in (added, [_without_aliases(expression, tree, exp) for expression in added]):
        inner = body.select(*expressions, append=True) if expressions else body
        text = (
            f"WITH {_RANKED}({', '.join(columns)}) AS ({inner.sql(dialect='sqlite')}) "
            f"SELECT {', '.join(columns[:width])}, {rank} FROM {_RANKED} ORDER BY {width + 1}"
        )
        if text not in versions:
            versions.append(text)
    return versions, offset


def _offset(tree: exp.Expression, exp: Any) -> int | None:
    """Rows skipped by OFFSET, or by the first of `LIMIT a, b`; None where that is no plain number."""
    node = tree.args.get("offset")
    limit = tree.args.get("limit")
    if node is None and limit is not None:
        node = limit.args.get("offset")
    if node is None:
        return 0
    value = node.expression if isinstance(node, exp.Offset) else node
    return int(value.this) if isinstance(value, exp.Literal) and not value.is_string else None


def _names(tree: exp.Expression, exp: Any) -> list[str]:
    """Names of the result's columns where every one is written out, of the leftmost part of a compound; else []."""
    while isinstance(tree, exp.SetOperation):
        tree = tree.this
    if not isinstance(tree, exp.Select) or any(p.is_star for p in tree.expressions):
        return []
    only_aliases = not isinstance(tree.parent, exp.SetOperation)
    return [
        (p.alias if isinstance(p, exp.Alias) else "" if only_aliases else p.name).casefold() for p in tree.expressions
    ]


def _bare(expression: exp.Expression, exp: Any) -> tuple[exp.Expression, str]:
    """A key without parentheses and outer COLLATE, and that collation as text to put behind a column."""
    collation = ""
    while isinstance(expression, exp.Paren | exp.Collate):
        if isinstance(expression, exp.Collate) and not collation:
            collation = f" COLLATE {expression.expression.sql(dialect='sqlite')}"
        expression = expression.this
    return expression, collation


def _column(expression: exp.Expression, names: list[str], tree: exp.Expression, width: int, exp: Any) -> int | None:
    """Number of the result's column that a key stands for, from 1, or None."""
    if isinstance(expression, exp.Literal) and not expression.is_string:
        number = int(expression.this) if expression.this.isdigit() else 0
        return number if 1 <= number <= width else None
    if isinstance(expression, exp.Column) and not expression.table and expression.name.casefold() in names:
        return names.index(expression.name.casefold()) + 1
    if isinstance(tree, exp.Select) and not any(p.is_star for p in tree.expressions):
        for number, projection in enumerate(tree.expressions, start=1):
            if projection.unalias() == expression:
                return number
    return None


def _without_aliases(expression: exp.Expression, tree: exp.Expression, exp: Any) -> exp.Expression:
    aliased = {p.alias.casefold(): p.this for p in tree.expressions if isinstance(p, exp.Alias)}

    def replace(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Column) and not node.table and node.name.casefold() in aliased:
            return exp.Paren(this=aliased[node.name.casefold()].copy())
        return node

    return expression.copy().transform(replace)


def _direction(term: exp.Expression) -> str:
    text = " DESC" if term.args.get("desc") else ""
    nulls = term.args.get("nulls_first")
    return text if nulls is None else f"{text} NULLS {'FIRST' if nulls else 'LAST'}"
