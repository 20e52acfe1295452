"""Rewrites of a query's clauses: names, joins, derived tables, duplicates, order, set operations."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from common.mutations.edits import Edit, Mutations, as_, swap

_FRESH = "renamed_"


def same_plan(tree: exp.Expression, columns: dict[str, list[str]]) -> Mutations:
    """Kinds and edits that leave SQLite's plan as it is. columns: of each table that the schema makes, in order."""
    yield from _alias_change(tree)
    yield from _table_alias(tree)
    yield from _column_alias(tree)
    yield from _qualifiers(tree, columns)
    if isinstance(tree, exp.Query) and (order := tree.args.get("order")):
        yield from _order(tree, order)
    if (limit := tree.args.get("limit")) and not tree.args.get("offset"):
        offset = exp.Offset()
        offset.args["expression"] = exp.Literal.number(0)
        if isinstance(limit.expression, exp.Literal):
            yield "OFFSET 0", [(tree, "offset", offset)]


def other_plan(tree: exp.Expression) -> Mutations:
    """Kinds and edits whose result is the same bag of rows (in the same order under ORDER BY's keys)."""
    for select in tree.find_all(exp.Select):
        yield from _join_order(select)
        yield from _exists(select)
    if isinstance(tree, exp.Select):
        yield from _as_group(tree)
        yield from _cte_as_subquery(tree)
        yield from _subquery_as_cte(tree)
    if isinstance(tree, exp.Query) and not any(tree.args.get(part) for part in ("order", "limit", "offset")):
        whole = exp.Select()
        inner = exp.Subquery()
        inner.args["this"] = tree
        source = exp.From()
        source.args["this"] = inner
        whole.args.update(expressions=[exp.Star()], from_=source)
        yield "wrapped", [(None, "", whole)]
        yield from _side_order(tree)


def _alias_change(tree: exp.Expression) -> Mutations:
    """A table's alias that stands for one table only, wherever it is used."""
    tables = [node for node in tree.find_all(exp.Table, exp.Subquery) if node.alias]
    names = [node.alias.casefold() for node in tables]
    table_names = {table.name.casefold() for table in tree.find_all(exp.Table)}
    for number, node in enumerate(tables):
        alias = names[number]
        if names.count(alias) > 1 or alias in table_names or node.args["alias"].args.get("columns"):
            continue
        yield "table alias renamed", [(node, "alias", _alias(f"{_FRESH}{number}")), *_references(tree, alias, number)]


def _table_alias(tree: exp.Expression) -> Mutations:
    """A table that is used once and has no alias gets one."""
    tables = [node for node in tree.find_all(exp.Table) if isinstance(node.parent, exp.From | exp.Join)]
    names = [node.name.casefold() for node in tree.find_all(exp.Table)]
    for number, node in enumerate(tables):
        name = node.name.casefold()
        # In an UPDATE or DELETE the table's own name has to stay.
        if not node.alias and names.count(name) == 1 and isinstance(node.find_ancestor(exp.Query), exp.Select):
            yield "table alias added", [(node, "alias", _alias(f"{_FRESH}{number}")), *_references(tree, name, number)]


def _alias(name: str) -> exp.TableAlias:
    return exp.TableAlias(this=exp.to_identifier(name))


def _references(tree: exp.Expression, alias: str, number: int) -> list[Edit]:
    return [
        (column, "table", exp.to_identifier(f"{_FRESH}{number}"))
        for column in tree.find_all(exp.Column)
        if column.table.casefold() == alias
    ]


def _column_alias(tree: exp.Expression) -> Mutations:
    """Another name for a column of the result that nothing refers to."""
    if not isinstance(tree, exp.Select):
        return
    column_names = {column.name.casefold() for column in tree.find_all(exp.Column)}
    for number, projection in enumerate(tree.expressions):
        if isinstance(projection, exp.Alias) and projection.alias.casefold() not in column_names:
            yield "column alias renamed", [(projection, "alias", exp.to_identifier(f"{_FRESH}{number}"))]
            yield "column alias dropped", swap(projection, projection.this.copy())


def _qualifiers(tree: exp.Expression, columns: dict[str, list[str]]) -> Mutations:
    """All columns with their table, or all without: only of one table in one SELECT, where there is no doubt."""
    source = tree.args.get("from_") if isinstance(tree, exp.Select) else None
    if source is None or tree.args.get("joins") or sum(1 for _ in tree.find_all(exp.Query)) > 1:
        return
    table = source.this
    if not isinstance(table, exp.Table) or table.name.casefold() not in columns:
        return
    names, name = columns[table.name.casefold()], table.alias or table.name
    all_columns = [column for column in tree.find_all(exp.Column) if not isinstance(column.this, exp.Star)]
    aliases = {projection.alias.casefold() for projection in tree.expressions if isinstance(projection, exp.Alias)}
    bare = [c for c in all_columns if not c.table and c.name.casefold() in names and c.name.casefold() not in aliases]
    with_table = [c for c in all_columns if c.table.casefold() == name.casefold() and c.name.casefold() not in aliases]
    if bare:
        yield "columns qualified", [(column, "table", exp.to_identifier(name)) for column in bare]
    if with_table:
        yield "columns unqualified", [(column, "table", None) for column in with_table]


def _order(tree: exp.Query, order: exp.Order) -> Mutations:
    terms = [term for term in order.expressions if isinstance(term, exp.Ordered)]
    ascending = [term for term in terms if not term.args.get("desc") and term.args.get("desc") is not False]
    if ascending:
        yield "explicit ASC", [(term, "desc", False) for term in ascending]
    if not isinstance(tree, exp.Select) or any(projection.is_star for projection in tree.expressions):
        return
    projections = tree.expressions
    aliases = [projection.alias.casefold() for projection in projections]
    for term in terms:
        key = term.this
        if isinstance(key, exp.Literal) and not key.is_string:
            number = int(key.name) if key.name.isdigit() else 0
            if 1 <= number <= len(projections) and not any(aliases):
                yield "ordinal as expression", [(term, "this", projections[number - 1])]
        elif isinstance(key, exp.Column) and not key.table and aliases.count(key.name.casefold()) == 1:
            yield "key as ordinal", [(term, "this", exp.Literal.number(aliases.index(key.name.casefold()) + 1))]
        elif not any(aliases) and key in projections:
            yield "key as ordinal", [(term, "this", exp.Literal.number(projections.index(key) + 1))]


def _join_order(select: exp.Select) -> Mutations:
    """The first two tables change places, where neither a star nor NATURAL or USING gives their order a meaning."""
    source, joins = select.args.get("from_"), select.args.get("joins") or []
    if source is None or not joins or any(projection.is_star for projection in select.expressions):
        return
    first = joins[0]
    plain = not first.side and first.kind in ("", "INNER", "CROSS") and not first.args.get("method")
    if plain and not any(join.args.get("using") or join.args.get("method") for join in joins):
        yield "join commuted", [(source, "this", first.this), (first, "this", source.this)]


def _exists(select: exp.Select) -> Mutations:
    parts = ("group", "having", "distinct", "limit", "windows")
    if not isinstance(select.parent, exp.Exists) or any(select.args.get(part) for part in parts):
        return
    if not any(projection.find(exp.AggFunc) for projection in select.expressions):  # that is one row always
        yield "EXISTS (SELECT NULL)", [(select, "expressions", [exp.Null()])]


def _as_group(tree: exp.Select) -> Mutations:
    """SELECT DISTINCT of plain columns as GROUP BY these columns."""
    others = ("group", "having", "order", "limit", "offset", "windows")
    if not tree.args.get("distinct") or any(tree.args.get(part) for part in others):
        return
    if all(type(projection) is exp.Column and not projection.is_star for projection in tree.expressions):
        group = exp.Group()
        group.args["expressions"] = [projection.copy() for projection in tree.expressions]
        yield "DISTINCT as GROUP BY", [(tree, "distinct", None), (tree, "group", group)]


def _cte_as_subquery(tree: exp.Select) -> Mutations:
    """WITH of one query that is used once, in FROM, as a derived table there."""
    clause = tree.args.get("with_")
    if clause is None or clause.args.get("recursive") or len(clause.expressions) != 1:
        return
    cte = clause.expressions[0]
    name = cte.alias.casefold()
    uses = [table for table in tree.find_all(exp.Table) if table.name.casefold() == name]
    if len(uses) != 1 or cte.args["alias"].args.get("columns"):
        return
    subquery = exp.Subquery()
    subquery.args.update(this=cte.this, alias=_alias(uses[0].alias or cte.alias))
    yield "CTE as derived table", [(tree, "with_", None), *swap(uses[0], subquery)]


def _subquery_as_cte(tree: exp.Select) -> Mutations:
    """A derived table of the outermost FROM as WITH, under its own name or a new one."""
    source = tree.args.get("from_")
    if source is None or tree.args.get("with_") or not isinstance(source.this, exp.Subquery):
        return
    subquery = source.this
    if not isinstance(subquery.this, exp.Query) or subquery.args.get("joins"):
        return
    name = subquery.alias or f"{_FRESH}0"
    if name.casefold() in {table.name.casefold() for table in tree.find_all(exp.Table)}:
        return
    clause = exp.With(expressions=[exp.CTE(this=subquery.this.copy(), alias=_alias(name))])
    yield "derived table as CTE", [(tree, "with_", clause), (source, "this", exp.to_table(name))]


def _side_order(tree: exp.Query) -> Iterator[tuple[str, list[Edit]]]:
    kinds = (exp.Union, exp.Intersect)
    if (
        type(tree) not in kinds
        or tree.args.get("with_")
        or not all(
            type(side) is exp.Select and not any(side.args.get(part) for part in ("order", "limit"))
            for side in (tree.this, tree.expression)
        )
    ):
        return
    yield "set operation swapped", [(tree, "this", tree.expression), (tree, "expression", tree.this)]
    if type(tree) is exp.Union and tree.args.get("distinct"):
        both = exp.Subquery()
        both.args["this"] = as_(tree, exp.Union, distinct=False)
        source, whole = exp.From(), exp.Select()
        source.args["this"] = both
        whole.args.update(expressions=[exp.Star()], from_=source, distinct=exp.Distinct())
        yield "UNION as DISTINCT", [(None, "", whole)]
