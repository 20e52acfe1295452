"""Duplicates and joins: DISTINCT, a parent that is joined or not, inner and outer joins, counts of children."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from common.certify.readings.structure import Link, Query, quoted, sql, unaliased

Forms = Iterator[tuple[str, str | None, bool]]


def forms(query: Query) -> Forms:
    """Forms of the outermost SELECT."""
    if query.distinct:
        yield "DISTINCT dropped", query.build(distinct=False), not query.identifies()
    elif query.is_plain and not query.limit:
        yield "DISTINCT added", query.build(distinct=True), not query.identifies()
    for link in query.links:
        yield from _without_parent(query, link)
        yield from _as_left_join(query, link)
    if len(query.sources) == 1:
        yield from _with_parent(query)
    yield from _counts_of_children(query)
    yield from _not_null(query)


def _without_parent(query: Query, link: Link) -> Forms:
    """A parent of which only the key is used."""
    if any(p.is_star for p in query.projections) or any(join.side for join in query.joins):
        return
    tree = query.tree.copy()
    copy = Query(tree, query.schema)
    uses = [c for c in copy.columns() if (end := copy.resolve(c)) and end[0] == link.parent]
    joins = [join for join in copy.joins if join.args.get("on") is not None]
    keys = {link.child_key.casefold(), link.parent_key.casefold()}
    on = [join for join in joins if {sql(node).casefold() for node in join.find_all(exp.Column)} >= keys]
    if len(on) != 1 or not isinstance(on[0].args["on"], exp.EQ) or len(joins) != len(copy.joins):
        return
    join = on[0]
    if any(sql(use).casefold() != link.parent_key.casefold() for use in uses):
        return
    if join.this.alias_or_name == link.parent:
        tree.set("joins", [other for other in tree.args["joins"] if other is not join])
    elif tree.args["from_"].this.alias_or_name == link.parent and join is copy.joins[0]:
        tree.args["from_"].set("this", join.this)
        tree.set("joins", tree.args["joins"][1:])
    else:
        return
    for use in uses:
        if use.find_ancestor(exp.Join) is not join:
            use.replace(exp.maybe_parse(link.child_key, dialect="sqlite"))
    yield "join with the parent left out", sql(tree), False


def _with_parent(query: Query) -> Forms:
    """A join with the parent that a declared key names, though nothing of it is used."""
    (alias, table), *_ = query.sources.items()
    for column, (parent, key) in sorted(table.parents.items()):
        if parent in query.schema and parent != table.name.casefold() and parent != alias.casefold():
            full = query.qualified()
            if not any(p.is_star for p in full.projections):
                name = query.schema[parent].name
                on = f"{alias}.{quoted(column)} = {name}.{quoted(key)}"
                yield "join with the parent added", full.build(source=f"{full.source} JOIN {name} ON {on}"), False
                return


def _as_left_join(query: Query, link: Link) -> Forms:
    join = query.joins[0]
    if len(query.joins) == 1 and not join.side and join.args.get("on") is not None:
        first = sql(query.tree.args["from_"].this)
        source = f"{first} LEFT JOIN {sql(join.this)} ON {sql(join.args['on'])}"
        is_child = query.tree.args["from_"].this.alias_or_name == link.child
        name = "JOIN with the parent as LEFT JOIN" if is_child else "JOIN with the child as LEFT JOIN"
        yield name, query.build(source=source), not is_child


def _counts_of_children(query: Query) -> Forms:
    """`COUNT` over a join with children, a line a parent, as a count in a subquery; LEFT JOIN or not."""
    if len(query.joins) != 1 or len(query.links) != 1 or len(query.group) != 1 or query.having or query.distinct:
        return
    link, calls, join = query.links[0], query.aggregates, query.joins[0]
    end = query.resolve(query.group[0])
    if (
        len(calls) != 1
        or not isinstance(calls[0], exp.Count)
        or not isinstance(calls[0].parent, exp.Select | exp.Alias)
    ):
        return
    if not end or end[0] != link.parent or not end[1].identifies(end[2]) or query.where or query.order:
        return
    if calls[0].find(exp.Distinct):
        return
    columns = [query.resolve(unaliased(p)) for p in query.projections if not p.find(exp.AggFunc)]
    if not all(column and column[0] == link.parent for column in columns):
        return
    tables = {node.alias_or_name: sql(node) for node in (query.tree.args["from_"].this, join.this)}
    count = f"(SELECT COUNT(*) FROM {tables[link.child]} WHERE {link.child_key} = {link.parent_key})"
    select = ", ".join(count if p.find(exp.AggFunc) else sql(p) for p in query.projections)
    text = query.build(select=select, source=tables[link.parent], group="")
    is_left = join.side == "LEFT"
    yield "count of children as subquery", text, not is_left  # without LEFT it shows those with none, too


def _not_null(query: Query) -> Forms:
    """The value that is sorted by and cut, or the least of, with IS NOT NULL."""
    keys = [term.this for term in query.order] if query.limit else []
    keys += [node.this for node in query.aggregates if isinstance(node, exp.Min | exp.Max)]
    for key in keys:
        if query.resolve(key) and not any(join.side for join in query.joins):
            yield "IS NOT NULL added", query.build(where=[*query.where, f"{sql(key)} IS NOT NULL"]), False
            return
