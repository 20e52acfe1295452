"""Rewrites of statements that write: the columns of INSERT, its values, the order of assignments, WHERE for all."""

from __future__ import annotations

import re

from sqlglot import exp

from common.mutations.edits import Mutations

_INTEGER = re.compile(r"\bINT\b", re.IGNORECASE)


def of_statement(tree: exp.Expression, columns: dict[str, list[str]]) -> Mutations:
    """Kinds and edits for INSERT, UPDATE and DELETE. columns: of each table that the schema makes, in order."""
    if isinstance(tree, exp.Insert):
        yield from _insert(tree, columns)
    elif isinstance(tree, exp.Update) and len(tree.expressions) > 1:
        yield "assignments commuted", [(tree, "expressions", tree.expressions[::-1])]
    if isinstance(tree, exp.Update | exp.Delete) and not tree.args.get("where"):
        where = exp.Where()
        where.args["this"] = exp.Literal.number(1)
        yield "WHERE 1", [(tree, "where", where)]


def _insert(tree: exp.Insert, columns: dict[str, list[str]]) -> Mutations:
    values, target = tree.expression, tree.this
    if not isinstance(values, exp.Values):
        return
    rows = [row.expressions for row in values.expressions if isinstance(row, exp.Tuple)]
    if len(rows) != len(values.expressions):
        return
    if isinstance(target, exp.Table):
        names = columns.get(target.name.casefold(), [])
        if names and all(len(row) == len(names) for row in rows):
            schema = exp.Schema(
                this=target.copy(), expressions=[exp.to_identifier(name, quoted=True) for name in names]
            )
            yield "INSERT with column list", [(tree, "this", schema)]
    elif isinstance(target, exp.Schema) and len(target.expressions) > 1:
        edits = [(target, "expressions", target.expressions[::-1])]
        edits += [(row, "expressions", row.expressions[::-1]) for row in values.expressions]
        yield "INSERT columns in another order", edits
    select = exp.Select()
    select.args["expressions"] = rows[0]
    if len(rows) == 1:
        yield "VALUES as SELECT", [(tree, "expression", select)]


def other_type_names(sql: str) -> str:
    """INT as INTEGER in a definition without a primary key: the affinity is the same, the key would not be."""
    tokens = sql.lower()
    if "primary" in tokens or "select" in tokens or "'" in sql or '"' in sql:
        return sql
    return _INTEGER.sub("INTEGER", sql)
