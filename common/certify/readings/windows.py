"""Windows and CTEs of groups: frames, running totals, ranks, the first of each group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlglot import exp

from common.certify.readings.structure import Query, quoted, replaced, sql, unaliased
from common.certify.readings.tables import Table

Forms = Iterator[tuple[str, str | None, bool]]
_RANKS = {exp.Rank: "RANK", exp.DenseRank: "DENSE_RANK", exp.RowNumber: "ROW_NUMBER"}


def forms(query: Query) -> Forms:
    """Forms of the windows of the outermost SELECT."""
    for node in [unaliased(p) for p in query.projections]:
        if not isinstance(node, exp.Window) or not isinstance(node.this, exp.Func):
            continue
        order = node.args.get("order")
        keys = order.expressions if order else []
        if type(node.this) in _RANKS:
            yield from _ranks(query, node, keys)
        elif isinstance(node.this, exp.AggFunc) and not isinstance(node.this, exp.Lag | exp.Lead):
            yield from _aggregates(query, node, keys)


def _ranks(query: Query, node: exp.Window, keys: list[exp.Ordered]) -> Forms:
    for kind, name in _RANKS.items():
        if type(node.this) is not kind:
            yield f"{_RANKS[type(node.this)]} as {name}", query.replaced(node.this, f"{name}()"), True
    if len(keys) == 1 and len(query.sources) == 1 and not query.where and isinstance(keys[0].this, exp.Column):
        sign = ">" if keys[0].args.get("desc") else "<"
        other, table = "other", next(iter(query.sources.values()))
        x = keys[0].this.name
        conditions = [f"{other}.{quoted(x)} {sign} {table.name}.{quoted(x)}", *_same_group(node, table, other)]
        text = f"1 + (SELECT COUNT(*) FROM {table.name} AS {other} WHERE {' AND '.join(conditions)})"
        if table.name in query.sources:
            yield "rank as a count of those before", query.replaced(node, text), not isinstance(node.this, exp.Rank)


def _same_group(node: exp.Window, table: Table, other: str) -> list[str]:
    parts = node.args.get("partition_by") or []
    return [f"{other}.{quoted(part.name)} = {table.name}.{quoted(part.name)}" for part in parts]


def _aggregates(query: Query, node: exp.Window, keys: list[exp.Ordered]) -> Forms:
    spec = node.args.get("spec")
    if keys and spec is None:
        inside = sql(node)[: -len(")")]
        yield "default frame as ROWS", query.replaced(node, f"{inside} ROWS UNBOUNDED PRECEDING)"), False
    elif keys and (spec.args.get("kind"), spec.args.get("start"), spec.args.get("end")) in (
        ("ROWS", "UNBOUNDED", "CURRENT ROW"),
        ("ROWS", "UNBOUNDED", None),
    ):
        copy = node.copy()
        copy.set("spec", None)
        yield "ROWS as the default frame", query.replaced(node, sql(copy)), False
    table, name = next(iter(query.sources.values())), next(iter(query.sources))
    if len(query.sources) > 1 or query.where or name != table.name or spec is not None:
        return
    call = sql(node.this)
    for column in node.this.find_all(exp.Column):
        call = call.replace(sql(column), f"other.{quoted(column.name)}")
    conditions = _same_group(node, table, "other")
    if len(keys) == 1 and isinstance(keys[0].this, exp.Column):
        sign, x = ">=" if keys[0].args.get("desc") else "<=", quoted(keys[0].this.name)
        conditions.append(f"other.{x} {sign} {table.name}.{x}")
    elif keys:
        return
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    text = f"(SELECT {call} FROM {table.name} AS other{where})"
    form = "running total as subquery" if keys else "window over a group as subquery"
    yield form, query.replaced(node, text), False
    groups = node.args.get("partition_by") or []
    if not keys and len(groups) == 1 and isinstance(groups[0], exp.Column):
        g = quoted(groups[0].name)
        totals = f"(SELECT {g} AS part, {sql(node.this)} AS total FROM {table.name} GROUP BY {g})"
        full = query.qualified()
        window = next(w for w in full.tree.find_all(exp.Window))
        select = replaced(full.tree, [(window, "totals.total")])
        if select:
            start, _, rest = select.rpartition(f" FROM {table.name}")
            join = f" FROM {table.name} JOIN {totals} AS totals ON totals.part = {table.name}.{g}"
            yield "window over a group as JOIN", f"{start}{join}{rest}", False


def of_firsts(tree: exp.Select, schema: Mapping[str, Table]) -> Forms:
    """`SELECT … FROM (SELECT …, ROW_NUMBER() OVER (PARTITION BY g ORDER BY x) AS r …) WHERE r = 1`."""
    source, where = tree.args.get("from_"), tree.args.get("where")
    subquery = source.this if source else None
    if not isinstance(subquery, exp.Subquery) or where is None or not isinstance(where.this, exp.EQ):
        return
    try:
        inner = Query(subquery.this, schema)
    except ValueError:
        return
    aliased = {p.alias: p.this for p in inner.projections if isinstance(p, exp.Alias)}
    window = aliased.get(where.this.this.name)
    if not isinstance(window, exp.Window) or type(window.this) not in _RANKS or sql(where.this.expression) != "1":
        return
    order, groups = window.args.get("order"), window.args.get("partition_by") or []
    for kind, name in _RANKS.items():
        if type(window.this) is not kind and type(window.this) is not exp.DenseRank:
            yield (
                f"first of a group: {_RANKS[type(window.this)]} as {name}",
                replaced(tree, [(window.this, f"{name}()")]),
                False,
            )
    if len(inner.sources) == 1 and not inner.where and order and len(order.expressions) == 1 and len(groups) == 1:
        term = order.expressions[0]
        best = "MAX" if term.args.get("desc") else "MIN"
        table = next(iter(inner.sources.values()))
        x, g = quoted(term.this.name), quoted(groups[0].name)
        top = f"(SELECT {best}(other.{x}) FROM {table.name} AS other WHERE other.{g} = {table.name}.{g})"
        names = ", ".join(map(sql, tree.expressions))
        yield "first of a group as = (SELECT MAX)", f"SELECT {names} FROM {table.name} WHERE {x} = {top}", False
        pairs = f"({g}, {x}) IN (SELECT {g}, {best}({x}) FROM {table.name} GROUP BY {g})"
        yield "first of a group as IN pairs", f"SELECT {names} FROM {table.name} WHERE {pairs}", False


def of_totals(tree: exp.Select, schema: Mapping[str, Table]) -> Forms:
    """`WITH g AS (SELECT k, SUM(x) AS v … GROUP BY k) SELECT k, v FROM g WHERE v = (SELECT MAX(v) FROM g)`."""
    clause, where = tree.args.get("with_"), tree.args.get("where")
    if clause is None or len(clause.expressions) != 1 or where is None or not isinstance(where.this, exp.EQ):
        return
    try:
        inner = Query(clause.expressions[0].this, schema)
    except ValueError:
        return
    best = where.this.expression.find(exp.Max, exp.Min)
    totals = {p.alias: p.this for p in inner.projections if isinstance(p, exp.Alias)}
    name = where.this.this.name
    if best is None or name not in totals or not inner.is_whole or not inner.group or tree.args.get("joins"):
        return
    total = sql(totals[name])
    select = ", ".join(total if p.name == name else sql(p) for p in tree.expressions)
    down = " DESC" if isinstance(best, exp.Max) else ""
    yield "CTE of groups as LIMIT 1", inner.build(select=select, order=f"{total}{down}", limit="1"), False
    rows = inner.build(select=f"{total} AS total")
    having = f"{total} = (SELECT {sql(best)[:3]}(total) FROM ({rows}))"
    yield "CTE of groups as HAVING", inner.build(select=select, having=having), False
