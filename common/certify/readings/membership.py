"""Which rows belong: IN, EXISTS, joins, NOT IN, LEFT JOIN … IS NULL, EXCEPT, INTERSECT, UNION, OR."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from sqlglot import exp

from common.certify.readings.structure import Query, quoted, sql, unaliased
from common.certify.readings.tables import Table

Forms = Iterator[tuple[str, str | None, bool]]


def forms(query: Query) -> Forms:
    """Forms of the outermost SELECT."""
    for place, condition in enumerate(query.conjuncts):
        rest = [text for number, text in enumerate(query.where) if number != place]
        negated = isinstance(condition, exp.Not)
        node = condition.this if negated else condition
        if isinstance(node, exp.In) and isinstance(node.args.get("query"), exp.Subquery):
            yield from _of_in(query, place, node, negated)
        elif isinstance(node, exp.EQ) and isinstance(node.expression, exp.Subquery) and not negated:
            yield from _of_equal(query, rest, node)
        elif isinstance(node, exp.Exists):
            yield from _of_exists(query, rest, node.this, negated)
    yield from _of_left_join(query)
    yield from _of_join(query)
    yield from _of_or(query)


def _inner(query: Query, tree: exp.Expression) -> Query | None:
    """A subquery of one column without groups or LIMIT."""
    with suppress(ValueError):
        inner = Query(tree, query.schema)
        if len(inner.projections) == 1 and inner.is_plain and inner.is_whole:
            return inner
    return None


def _of_in(query: Query, place: int, node: exp.In, negated: bool) -> Forms:
    inner = _inner(query, node.args["query"].this)
    if inner is None or not query.resolve(node.this):
        return
    alias, _, name = query.resolve(node.this)
    query, inner = query.qualified(), inner.qualified()
    target = unaliased(inner.projections[0])
    end = inner.resolve(target)
    clash = {a.casefold() for a in query.sources} & {a.casefold() for a in inner.sources}
    if clash or not end:
        return
    outer = f"{alias}.{quoted(name)}"
    rest = [text for number, text in enumerate(query.where) if number != place]
    meets = f"{sql(target)} = {outer}"
    exists = inner.build(select="1", where=[*inner.where, meets], distinct=False)
    word = "NOT IN as NOT EXISTS" if negated else "IN as EXISTS"
    yield word, query.build(where=[*rest, f"{'NOT ' if negated else ''}EXISTS ({exists})"]), False
    is_parent = end[1].key == end[2]
    if negated:
        if len(inner.sources) == 1:
            on = " AND ".join([meets, *inner.where])
            source = f"{query.source} LEFT JOIN {inner.source} ON {on}"
            yield (
                "NOT IN as LEFT JOIN … IS NULL",
                query.build(source=source, where=[*rest, f"{sql(target)} IS NULL"]),
                False,
            )
        if query.is_plain and query.is_whole and not any(p.is_star for p in query.projections):
            both = f"{query.source} JOIN {inner.source} ON {meets}" if len(inner.sources) == 1 else None
            if both:
                right = query.build(source=both, where=[*rest, *inner.where])
                text = f"{query.build(where=rest)} EXCEPT {right}"
                yield "NOT IN as EXCEPT", text, not query.identifies()
        return
    if len(inner.sources) == 1:
        source = f"{query.source} JOIN {inner.source} ON {meets}"
        where = [*rest, *inner.where]
        if query.is_plain:
            yield "IN as JOIN", query.build(source=source, where=where), not (is_parent or query.distinct)
            if not query.distinct and query.is_whole:
                text = query.build(source=source, where=where, distinct=True)
                yield "IN as JOIN with DISTINCT", text, not query.identifies()
        elif is_parent:
            yield "IN as JOIN", query.build(source=source, where=where), False


def _of_equal(query: Query, rest: list[str], node: exp.EQ) -> Forms:
    """`child_key = (SELECT key FROM parent WHERE …)` as IN and as JOIN."""
    inner = _inner(query, node.expression.this)
    if inner is None or not inner.conjuncts or not query.resolve(node.this):
        return
    yield "= (SELECT) as IN", query.build(where=[*rest, f"{sql(node.this)} IN ({inner.build()})"]), False
    end = inner.resolve(unaliased(inner.projections[0]))
    if end and end[1].key == end[2] and len(inner.sources) == 1:
        full, inner = query.qualified(), inner.qualified()
        if not {a.casefold() for a in full.sources} & {a.casefold() for a in inner.sources}:
            alias, _, name = query.resolve(node.this)
            on = f"{sql(unaliased(inner.projections[0]))} = {alias}.{quoted(name)}"
            where = [text for text, c in zip(full.where, full.conjuncts, strict=True) if not c.find(exp.Subquery)]
            if len(where) == len(full.where) - 1:
                text = full.build(source=f"{full.source} JOIN {inner.source} ON {on}", where=[*where, *inner.where])
                yield "= (SELECT) as JOIN", text, False


def _of_exists(query: Query, rest: list[str], tree: exp.Expression, negated: bool) -> Forms:
    """`EXISTS (SELECT 1 FROM child WHERE child.key = parent.key)` as IN and as JOIN."""
    try:
        inner = Query(tree, query.schema)
    except ValueError:
        return
    for place, condition in enumerate(inner.conjuncts):
        if not isinstance(condition, exp.EQ):
            continue
        for here, there in ((condition.this, condition.expression), (condition.expression, condition.this)):
            if inner.resolve(here) and not inner.resolve(there) and query.resolve(there):
                others = [text for number, text in enumerate(inner.where) if number != place]
                rows = inner.build(select=sql(here), where=others)
                word = f"{sql(there)} {'NOT ' if negated else ''}IN ({rows})"
                yield f"{'NOT ' * negated}EXISTS as {'NOT ' * negated}IN", query.build(where=[*rest, word]), False
                full = query.qualified()
                if not negated and len(inner.sources) == 1 and full.is_plain and full.is_whole and not rest:
                    source = f"{full.source} JOIN {inner.source} ON {sql(condition)}"
                    text = full.build(source=source, where=others, distinct=True)
                    yield "EXISTS as JOIN with DISTINCT", text, not full.identifies()


def _of_left_join(query: Query) -> Forms:
    """`LEFT JOIN child ON … WHERE child.key IS NULL` as NOT IN and NOT EXISTS."""
    if len(query.joins) != 1 or query.joins[0].side != "LEFT" or not query.is_plain:
        return
    alias = query.joins[0].this.alias_or_name
    tests = [c for c in query.conjuncts if isinstance(c, exp.Is) and isinstance(c.expression, exp.Null)]
    tests = [c for c in tests if (end := query.resolve(c.this)) and end[0] == alias]
    on = query.joins[0].args.get("on")
    if len(tests) != 1 or not isinstance(on, exp.EQ):
        return
    rest = [text for text, condition in zip(query.where, query.conjuncts, strict=True) if condition is not tests[0]]
    ends = {end[0]: node for node in (on.this, on.expression) if (end := query.resolve(node))}
    if set(ends) != set(query.sources):
        return
    first = sql(query.tree.args["from_"].this)
    here, there = ends[alias], next(node for name, node in ends.items() if name != alias)
    child = sql(query.joins[0].this)
    missing = f"{sql(there)} NOT IN (SELECT {sql(here)} FROM {child})"
    yield "LEFT JOIN … IS NULL as NOT IN", query.build(source=first, where=[*rest, missing]), False
    missing = f"NOT EXISTS (SELECT 1 FROM {child} WHERE {sql(on)})"
    yield "LEFT JOIN … IS NULL as NOT EXISTS", query.build(source=first, where=[*rest, missing]), False


def _of_join(query: Query) -> Forms:
    """A join with a table of which nothing is shown, as IN."""
    if len(query.joins) != 1 or query.joins[0].side or not query.links or query.aggregates or query.group:
        return
    link = query.links[0]
    names = (link.child, link.child_key), (link.parent, link.parent_key)
    for (base, base_key), (other, other_key) in (names, names[::-1]):
        ends = [query.resolve(c) for part in (*query.projections, *query.order) for c in query.columns(part)]
        if any(p.is_star for p in query.projections) or not all(end and end[0] == base for end in ends):
            continue
        sides: dict[str, list[str]] = {base: [], other: []}
        for text, condition in zip(query.where, query.conjuncts, strict=True):
            owners = {end[0] if (end := query.resolve(c)) else "" for c in query.columns(condition)}
            if len(owners) != 1 or not owners <= sides.keys():
                return
            sides[owners.pop()].append(text)
        tables = {node.alias_or_name: sql(node) for node in (query.tree.args["from_"].this, query.joins[0].this)}
        where = f" WHERE {' AND '.join(sides[other])}" if sides[other] else ""
        is_parent = other == link.parent
        member = f"{base_key} IN (SELECT {other_key} FROM {tables[other]}{where})"
        text = query.build(source=tables[base], where=[*sides[base], member])
        debatable = not is_parent and not (query.distinct and query.sources[base].identifies(ends[0][2]))
        yield "JOIN as IN", text, debatable
        if is_parent and where and " = " in where:
            single = f"{base_key} = (SELECT {other_key} FROM {tables[other]}{where})"
            label = any(
                end[2] in end[1].labels for c in query.columns(query.tree.args["where"]) if (end := query.resolve(c))
            )
            yield "JOIN as = (SELECT)", query.build(source=tables[base], where=[*sides[base], single]), not label


def _of_or(query: Query) -> Forms:
    if len(query.conjuncts) == 1 and isinstance(query.conjuncts[0], exp.Or) and query.is_plain and query.is_whole:
        node = query.conjuncts[0]
        if not isinstance(node.this, exp.Or):
            sides = [query.build(where=[sql(side)], distinct=False) for side in (node.this, node.expression)]
            yield "OR as UNION", " UNION ".join(sides), not (query.distinct or query.identifies())


def of_sets(tree: exp.SetOperation, schema: Mapping[str, Table]) -> Forms:
    """Forms of a set operation of two SELECTs."""
    try:
        left, right = Query(tree.this, schema), Query(tree.expression, schema)
    except (ValueError, AttributeError):
        return
    if tree.args.get("order") or tree.args.get("limit") or not (left.is_whole and right.is_whole):
        return
    plain = left.is_plain and right.is_plain and len(left.projections) == len(right.projections)
    if not plain:
        return
    same = left.source.casefold() == right.source.casefold() and left.select.casefold() == right.select.casefold()
    names = left.identifies()
    ands = [" AND ".join(side.where) or "1" for side in (left, right)]
    one = len(left.projections) == 1
    x = sql(unaliased(left.projections[0]))
    if isinstance(tree, exp.Union) and tree.args.get("distinct") and same and left.where and right.where:
        either = [f"({ands[0]} OR {ands[1]})"]
        yield "UNION as OR with DISTINCT", left.build(where=either, distinct=True), False
        yield "UNION as OR", left.build(where=either), not names
    negated = isinstance(tree, exp.Except)
    if not negated and not isinstance(tree, exp.Intersect):
        return
    word = "NOT IN" if negated else "IN"
    name = "EXCEPT" if negated else "INTERSECT"
    if one:
        member = f"{x} {word} ({right.build()})"
        yield f"{name} as {word} with DISTINCT", left.build(where=[*left.where, member], distinct=True), False
        yield f"{name} as {word}", left.build(where=[*left.where, member]), not names
    if same:
        both = [*left.where, f"NOT ({ands[1]})"] if negated else [*left.where, *right.where]
        # Of one row only where the result names it.
        yield f"{name} as {'AND NOT' if negated else 'AND'}", left.build(where=both), not names
    yield from _on_keys(left, right, name, word)


def _on_keys(left: Query, right: Query, name: str, word: str) -> Forms:
    """The same rows by their key instead of by what is shown."""
    end = left.resolve(unaliased(left.projections[0]))
    there = right.resolve(unaliased(right.projections[0]))
    if not end or not there or end[1].name != there[1].name or not end[1].key or end[2] == end[1].key:
        return
    inner = right.build(select=right.column(there[0], end[1].key), distinct=False)
    member = f"{left.column(end[0], end[1].key)} {word} ({inner})"
    debatable = end[2] not in end[1].labels
    several = {"distinct": bool(left.joins)}
    yield f"{name} on labels as {word} on keys", left.build(where=[*left.where, member], **several), debatable
    for link in right.links:
        if link.parent == there[0] and len(right.joins) == 1 and not right.where:
            child = next(
                sql(node)
                for node in (right.tree.args["from_"].this, right.joins[0].this)
                if node.alias_or_name == link.child
            )
            member = f"{left.column(end[0], end[1].key)} {word} (SELECT {link.child_key} FROM {child})"
            text = left.build(where=[*left.where, member], **several)
            yield f"{name} on labels as {word} on keys", text, debatable
