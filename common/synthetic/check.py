"""Runs a drafted query on its own database and says whether it is worth asking.

Covers: it runs; a SELECT has rows and not only NULL; the plan without any one of its conditions or limits gives
another result, so no part of the question is for show; sort keys of a limited result have no ties where the question
does not settle them; figures are over two rows or more; a write changes something, but not all. A question about a
value that the given rows do not have may have an empty result. It does not prove that a wrong query cannot give the
right answer by luck: the scorer's generated databases are for that.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from common.synthetic.plan import AGGREGATES, Compound, Draft, Plan, Select, Steps, Term
from common.synthetic.render import sql

LONE = ("count", "count_above", "share_above")  # figures that one row, or none, is enough for


def holds(draft: Draft, context: str) -> bool:
    connection = _connection()
    connection.execute("BEGIN")
    try:
        for statement in context.split("; "):  # no generated value holds a semicolon
            connection.execute(statement)
        if draft.plan:
            return _answers(connection, draft.plan, draft.ties)
        return _changes_part(connection, draft) if draft.target else _defines(connection, draft)
    except sqlite3.Error:
        return False
    finally:
        connection.execute("ROLLBACK")


@cache
def _connection() -> sqlite3.Connection:
    """One database in memory for all checks: a rolled back transaction is cheaper than a new database."""
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


def _answers(connection: sqlite3.Connection, plan: Plan, ties: bool) -> bool:
    rows = _rows(connection, plan)
    if absent(plan):
        return len(rows) < 2
    if not rows or all(value is None for row in rows for value in row):
        return False
    if any(_rows(connection, weaker) == rows for weaker in weaker_plans(plan)):
        return False
    for select in _selects(plan):
        if select.limit and not _settled(connection, select, ties):
            return False
        lone = all(term.function in LONE or term.function not in AGGREGATES for term in select.terms)
        if not lone and not select.group and _count(connection, select) < 2:
            return False
    return True


def _rows(connection: sqlite3.Connection, plan: Plan) -> list[tuple]:
    """The result, sorted where its order means nothing."""
    rows = connection.execute(sql(plan)).fetchall()
    return rows if isinstance(plan, Select) and plan.order else sorted(rows, key=repr)


def absent(plan: Plan) -> bool:
    """Whether the question names a category that the given rows do not have."""
    return any(
        c.kind == "compare" and c.op == "=" and c.field.kind == "group" and c.values[0] not in c.field.values
        for select in _selects(plan)
        for outer in select.where
        for c in (outer, *outer.inner)
    )


def weaker_plans(plan: Plan) -> Iterator[Plan]:
    """The plan without one of its parts, for each part that it can be without."""
    if isinstance(plan, Compound):
        yield from (replace(plan, left=weaker) for weaker in _weaker(plan.left))
        yield from (replace(plan, right=weaker) for weaker in _weaker(plan.right))
        yield replace(plan.left, distinct=True)
        if plan.op != "except":
            yield replace(plan.right, distinct=True)
    elif isinstance(plan, Steps):
        yield from (replace(plan, inner=weaker) for weaker in _weaker(plan.inner))
        if plan.kind in ("around", "linked") and plan.op:
            yield replace(plan, op="!=", number=-1)
        if plan.kind == "around":
            yield replace(plan, op="<" if plan.op == ">" else ">")
        if plan.kind == "total":
            yield replace(plan.inner, terms=(plan.term,), order=(), limit=0)
    else:
        yield from _weaker(plan)


def _weaker(plan: Select) -> Iterator[Select]:
    for part in plan.where:
        rest = tuple(c for c in plan.where if c is not part)
        yield replace(plan, where=rest)
        if part.inner:
            yield replace(plan, where=(*rest, replace(part, inner=())))
    if plan.having:
        yield replace(plan, having=())
    if plan.limit:
        yield replace(plan, limit=0, offset=0)
        yield replace(plan, order=())
    if plan.best:
        yield replace(plan, best=None)
    if any(link.outer for link in plan.links):
        yield replace(plan, links=tuple(replace(link, outer=False) for link in plan.links))
    if plan.distinct and plan.links:
        yield replace(plan, distinct=False)


def _selects(plan: Plan) -> tuple[Select, ...]:
    if isinstance(plan, Compound):
        return plan.left, plan.right
    if isinstance(plan, Steps):
        return (plan.inner, plan.second) if plan.second else (plan.inner,)
    return (plan,)


def _settled(connection: sqlite3.Connection, plan: Select, ties: bool) -> bool:
    """Whether no two rows share all sort keys, but those that the question is about the ties of do share the first."""
    keys = replace(plan, terms=tuple(term for term, _ in plan.order), order=(), limit=0, offset=0)
    rows = connection.execute(sql(keys)).fetchall()
    return len(set(rows)) == len(rows) and len(rows) >= plan.limit + plan.offset and (ties or None not in rows[0])


def _count(connection: sqlite3.Connection, plan: Select) -> int:
    counted = replace(plan, terms=(Term("count"),), order=(), limit=0, offset=0, having=())
    return connection.execute(sql(counted)).fetchone()[0]


def _defines(connection: sqlite3.Connection, draft: Draft) -> bool:
    connection.execute(draft.statement)
    if not draft.probe:
        return True
    rows = connection.execute(draft.probe).fetchall()
    return bool(rows) and connection.execute(draft.weaker).fetchall() != rows


def _changes_part(connection: sqlite3.Connection, draft: Draft) -> bool:
    rows = f"SELECT * FROM {draft.target}"
    before = connection.execute(rows).fetchall()
    connection.execute(draft.statement)
    after = connection.execute(rows).fetchall()
    if len(after) > len(before):  # INSERT
        return after[: len(before)] == before
    if len(after) < len(before):  # DELETE
        return len(after) > 0
    same = sum(old == new for old, new in zip(before, after, strict=True))
    return 0 < same < len(before)
