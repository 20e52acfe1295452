"""What is counted and by what rows are grouped: rows, keys or labels."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from common.certify.readings.structure import Query, replaced, sql, unaliased

Forms = Iterator[tuple[str, str | None, bool]]


def forms(query: Query, tree: exp.Expression) -> Forms:
    """Forms of one SELECT of a tree; the texts are the whole tree's."""
    yield from _counts(query, tree)
    yield from _averages(query, tree)
    if query.tree is tree and len(query.group) == 1:
        yield from _groups(query)
    if query.tree is tree:
        yield from _distinct_counts(query)


def _counts(query: Query, tree: exp.Expression) -> Forms:
    stars = [node for node in query.aggregates if isinstance(node, exp.Count) and isinstance(node.this, exp.Star)]
    if stars and not any(join.side for join in query.joins):
        finest = query.finest
        table = query.sources.get(finest or "")
        if table and table.key:
            key = query.column(finest, table.key)
            yield "COUNT(*) as COUNT(key)", replaced(tree, [(node, f"COUNT({key})") for node in stars]), False
            yield "COUNT(*) as COUNT(DISTINCT key)", _all(tree, stars, f"COUNT(DISTINCT {key})"), False
        for label in sorted(table.labels)[:1] if table else ():
            yield "COUNT(*) as COUNT(label)", _all(tree, stars, f"COUNT({query.column(finest, label)})"), False
        for link in query.links[:2]:
            yield "COUNT(*) as COUNT(child key)", _all(tree, stars, f"COUNT({link.child_key})"), False
    for node in query.aggregates:
        if isinstance(node, exp.Count) and (end := query.resolve(node.this)):
            yield "COUNT(column) as COUNT(*)", replaced(tree, [(node, "COUNT(*)")]), False
            is_key = end[0] == query.finest and end[1].identifies(end[2])
            yield (
                "COUNT(x) as COUNT(DISTINCT x)",
                replaced(tree, [(node, f"COUNT(DISTINCT {sql(node.this)})")]),
                not is_key,
            )
        elif isinstance(node, exp.Count) and isinstance(node.this, exp.Distinct) and len(node.this.expressions) == 1:
            column = node.this.expressions[0]
            end = query.resolve(column)
            is_key = bool(end) and end[0] == query.finest and end[1].identifies(end[2])
            yield "COUNT(DISTINCT x) as COUNT(x)", replaced(tree, [(node, f"COUNT({sql(column)})")]), not is_key


def _all(tree: exp.Expression, nodes: list[exp.Expression], text: str) -> str | None:
    return replaced(tree, [(node, text) for node in nodes])


def _averages(query: Query, tree: exp.Expression) -> Forms:
    for node in query.aggregates:
        if isinstance(node, exp.Avg) and isinstance(node.this, exp.Column):
            x = sql(node.this)
            yield "AVG as SUM / COUNT(*)", replaced(tree, [(node, f"SUM({x}) * 1.0 / COUNT(*)")]), False


def _groups(query: Query) -> Forms:
    key = query.group[0]
    end = query.resolve(key)
    if not end:
        return
    alias, table, name = end
    owner_columns = [
        (node, other[2])
        for projection in query.projections
        if isinstance(node := unaliased(projection), exp.Column)
        and (other := query.resolve(node))
        and other[0] == alias
    ]
    if name == table.key:
        others = [(sql(node), column) for node, column in owner_columns if column != name]
        if others:
            texts = ", ".join(text for text, _ in others)
            debatable = not any(column in table.labels for _, column in others)
            yield "GROUP BY key as GROUP BY label", query.build(group=texts), debatable
            yield "GROUP BY key as GROUP BY key, label", query.build(group=f"{sql(key)}, {texts}"), False
    elif table.key and (name in table.labels or any(column == name for _, column in owner_columns)):
        debatable = name not in table.labels
        identity = query.column(alias, table.key)
        if len(query.sources) > 1 or not debatable:
            yield "GROUP BY label as GROUP BY key", query.build(group=identity), debatable
            yield "GROUP BY label as GROUP BY key, label", query.build(group=f"{identity}, {sql(key)}"), debatable
    for link in query.links:
        for one, other in ((link.child_key, link.parent_key), (link.parent_key, link.child_key)):
            if one.casefold() == sql(key).casefold():
                yield "GROUP BY key as GROUP BY child key", query.build(group=other), False


def _distinct_counts(query: Query) -> Forms:
    """`COUNT(DISTINCT x)` as the rows of a query of different values."""
    if len(query.projections) != 1 or query.group or not query.is_whole:
        return
    node = unaliased(query.projections[0])
    if isinstance(node, exp.Count) and isinstance(node.this, exp.Distinct) and len(node.this.expressions) == 1:
        rows = query.build(select=sql(node.this.expressions[0]), distinct=True)
        yield "COUNT(DISTINCT x) as rows of a subquery", f"SELECT COUNT(*) FROM ({rows})", False
