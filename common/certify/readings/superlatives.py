"""The most and the least: ORDER BY … LIMIT, MAX in a subquery, ranks, and the same over groups."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from common.certify.readings.structure import Query, sql, unaliased

Forms = Iterator[tuple[str, str | None, bool]]  # form, text, whether it is debatable


def forms(query: Query) -> Forms:
    """Forms of the outermost SELECT."""
    if query.order and not query.distinct:
        yield from _tie_break(query)
    if query.limit and len(query.order) == 1 and query.rows_number() and not query.distinct:
        key = _key(query)
        if query.is_plain:
            yield from _of_rows(query, key, query.rows_number())
        elif query.group and any(True for _ in key.find_all(exp.AggFunc)):
            yield from _of_groups(query, key, query.rows_number())
    if query.is_plain and query.is_whole:
        yield from _as_limit(query)
    if query.is_whole and not query.group and len(query.projections) == 1:
        yield from _extreme_as_limit(query)
    if query.is_whole and query.group and query.having:
        yield from _outer_where(query)


def names(query: Query) -> tuple[str, str]:
    """The projections with aliases, for a derived table, and these aliases."""
    pairs = []
    for number, projection in enumerate(query.projections):
        name = projection.alias_or_name or f"c{number}"
        name = f"c{number}" if name in [other for _, other in pairs] or not name.isidentifier() else name
        node = unaliased(projection)
        same = isinstance(node, exp.Column) and node.name == name
        pairs.append((sql(node) if same else f"{sql(node)} AS {name}", name))
    return ", ".join(text for text, _ in pairs), ", ".join(name for _, name in pairs)


def _key(query: Query) -> exp.Expression:
    """What LIMIT sorts by; an alias or a number stands for its projection."""
    key = query.order[0].this
    if isinstance(key, exp.Literal) and key.name.isdigit() and 0 < int(key.name) <= len(query.projections):
        return unaliased(query.projections[int(key.name) - 1])
    if isinstance(key, exp.Column) and not key.table and query.resolve(key) is None:
        for projection in query.projections:
            if isinstance(projection, exp.Alias) and projection.alias.casefold() == key.name.casefold():
                return projection.this
    return key


def _down(query: Query) -> bool:
    return bool(query.order[0].args.get("desc"))


def _tie_break(query: Query) -> Forms:
    keys = {sql(term.this).casefold() for term in query.order}
    others = [unaliased(p) for p in query.projections if not p.is_star]
    for other in others[:1] if not query.group else [p for p in others if not p.find(exp.AggFunc)][:1]:
        if isinstance(other, exp.Column) and sql(other).casefold() not in keys:
            yield "tie-break added to ORDER BY", query.build(order=f"{_order(query)}, {sql(other)}"), False


def _order(query: Query) -> str:
    return ", ".join(map(sql, query.order))


def _of_rows(query: Query, key: exp.Expression, number: int) -> Forms:
    x, best = sql(key), "MAX" if _down(query) else "MIN"
    if number == 1:
        top = query.build(select=f"{best}({x})", order="", limit="")
        yield (
            "LIMIT 1 as = (SELECT MAX)",
            query.build(where=[*query.where, f"{x} = ({top})"], order="", limit=""),
            False,
        )
        end = query.resolve(key)
        if end and query.joins and not query.where:
            whole = f"SELECT {best}({end[2]}) FROM {end[1].name}"
            text = query.build(where=[f"{x} = ({whole})"], order="", limit="")
            yield "LIMIT 1 as = (SELECT MAX) of the table", text, end[0] != query.finest
        texts = [sql(unaliased(projection)) for projection in query.projections]
        if texts == [x]:
            yield "LIMIT 1 as MAX", query.build(select=f"{best}({x})", order="", limit=""), False
        elif x in texts:
            columns = [f"{best}({x})" if text == x else text for text in texts]
            yield "LIMIT 1 as bare MAX", query.build(select=", ".join(columns), order="", limit=""), False
        end = end or (None, None, "")
        if end[1] is not None and not query.where:
            text = query.build(where=[f"{x} >= (SELECT {best}({end[2]}) FROM {end[1].name})"], order="", limit="")
            if best == "MAX":
                yield "LIMIT 1 as >= (SELECT MAX)", text, end[0] != query.finest
    if not any(p.is_star for p in query.projections):
        inner, outer = names(query)
        rank = f"RANK() OVER (ORDER BY {x}{' DESC' if _down(query) else ''}) AS place"
        rows = query.build(select=f"{inner}, {rank}", order="", limit="")
        yield f"LIMIT {_n(number)} as RANK", _ranks(outer, rows, number), False
    if number > 1 and len(query.sources) == 1 and not query.where:
        top = query.build(select=x)
        text = query.build(where=[f"{x} IN ({top})"], limit="")
        yield "LIMIT n as IN the top values", text, False


def _n(number: int) -> str:
    return "1" if number == 1 else "n"


def _ranks(outer: str, rows: str, number: int) -> str:
    condition, order = ("place = 1", "") if number == 1 else (f"place <= {number}", " ORDER BY place")
    return f"SELECT {outer} FROM ({rows}) AS ranks WHERE {condition}{order}"


def _of_groups(query: Query, key: exp.Expression, number: int) -> Forms:
    x, best, down = sql(key), "MAX" if _down(query) else "MIN", _down(query)
    inner, outer = names(query)
    bare = {"order": "", "limit": ""}
    if number == 1:
        totals = query.build(select=f"{x} AS total", **bare)
        having = f"{x} = (SELECT {best}(total) FROM ({totals}))"
        if query.having:
            having = f"{sql(query.having.this)} AND {having}"
        yield "top group as HAVING = (SELECT MAX)", query.build(having=having, **bare), False
        first = query.build(select=x)
        if not query.having:
            yield "top group as HAVING = (… LIMIT 1)", query.build(having=f"{x} = ({first})", **bare), False
        rows = query.build(select=f"{inner}, {x} AS total", **bare)
        text = f"WITH totals AS ({rows}) SELECT {outer} FROM totals WHERE total = (SELECT {best}(total) FROM totals)"
        yield "top group as CTE", text, False
    rank = f"RANK() OVER (ORDER BY {x}{' DESC' if down else ''}) AS place"
    yield (
        f"top {_n(number)} groups as RANK",
        _ranks(outer, query.build(select=f"{inner}, {rank}", **bare), number),
        False,
    )


def _as_limit(query: Query) -> Forms:
    """`x = (SELECT MAX(x) FROM …)` as ORDER BY x DESC LIMIT 1."""
    for place, condition in enumerate(query.conjuncts):
        if not isinstance(condition, exp.EQ) or not isinstance(condition.expression, exp.Subquery):
            continue
        inner = condition.expression.this
        if not isinstance(inner, exp.Select) or len(inner.expressions) != 1 or inner.args.get("group"):
            continue
        best = unaliased(inner.expressions[0])
        if not isinstance(best, exp.Max | exp.Min) or not isinstance(best.this, exp.Column):
            continue
        rest = [text for number, text in enumerate(query.where) if number != place]
        same = best.this.name.casefold() == condition.this.name.casefold()
        if same and not inner.args.get("joins") and len(rest) == (1 if inner.args.get("where") else 0):
            down = " DESC" if isinstance(best, exp.Max) else ""
            text = query.build(where=rest, order=f"{sql(condition.this)}{down}", limit="1", distinct=False)
            yield "= (SELECT MAX) as LIMIT 1", text, bool(query.joins)


def _extreme_as_limit(query: Query) -> Forms:
    """`SELECT MAX(x)` as the first of the sorted values."""
    best = unaliased(query.projections[0])
    if isinstance(best, exp.Max | exp.Min) and isinstance(best.this, exp.Column):
        down = " DESC" if isinstance(best, exp.Max) else ""
        x = sql(best.this)
        yield "MAX as ORDER BY … LIMIT 1", query.build(select=x, order=f"{x}{down}", limit="1"), False


def _outer_where(query: Query) -> Forms:
    """HAVING as WHERE around the groups."""
    calls = list(query.having.find_all(exp.AggFunc))
    if len(calls) == 1 and not query.having.find(exp.Subquery, exp.Connector):
        inner, outer = names(query)
        rows = query.build(select=f"{inner}, {sql(calls[0])} AS total", having="")
        condition = sql(query.having.this).replace(sql(calls[0]), "total")
        yield "HAVING as WHERE around the groups", f"SELECT {outer} FROM ({rows}) AS totals WHERE {condition}", False
