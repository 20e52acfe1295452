"""A query's clauses as texts, to build another query from, and the keys that join its sources."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import sqlglot
from sqlglot import exp

from common.certify.readings.tables import Table
from common.mutations.edits import render, swap


@dataclass(frozen=True)
class Link:
    """A join of a child's key with its parent's: the aliases, and both columns as texts."""

    child: str
    child_key: str
    parent: str
    parent_key: str


class Query:
    """One SELECT: its sources, its clauses as texts, and other queries built from them.

    Raises ValueError for what no form is made of: a source that is no table of the schema, a set operation, WITH.
    """

    def __init__(self, tree: exp.Select, schema: Mapping[str, Table]):
        source = tree.args.get("from_")
        if not isinstance(tree, exp.Select) or tree.args.get("with_") or source is None:
            raise ValueError("no plain SELECT")
        self.tree, self.schema = tree, schema
        self.joins: list[exp.Join] = tree.args.get("joins") or []
        self.sources: dict[str, Table] = {}
        for node in (source.this, *(join.this for join in self.joins)):
            if not isinstance(node, exp.Table) or node.name.casefold() not in schema:
                raise ValueError("a source that is no table")
            self.sources[node.alias_or_name] = schema[node.name.casefold()]
        if len(self.sources) != len(self.joins) + 1:
            raise ValueError("two sources of one name")
        clause = {name: tree.args.get(name) for name in ("where", "group", "having", "order", "limit", "offset")}
        self.projections: list[exp.Expression] = tree.expressions
        self.distinct = bool(tree.args.get("distinct"))
        self.conjuncts = list(clause["where"].this.flatten()) if _is_and(clause["where"]) else (
            [clause["where"].this] if clause["where"] else []
        )  # fmt: skip
        self.group: list[exp.Expression] = clause["group"].expressions if clause["group"] else []
        self.having = clause["having"]
        self.order: list[exp.Ordered] = clause["order"].expressions if clause["order"] else []
        self.limit = clause["limit"]
        self.offset = clause["offset"]

    @property
    def select(self) -> str:
        return ", ".join(map(sql, self.projections))

    @cached_property
    def source(self) -> str:
        return " ".join(map(sql, (self.tree.args["from_"].this, *self.joins)))

    @property
    def where(self) -> list[str]:
        return [f"({sql(c)})" if isinstance(c, exp.Or) else sql(c) for c in self.conjuncts]

    @cached_property
    def aggregates(self) -> list[exp.Expression]:
        """Aggregates of this SELECT, those of windows and of queries in it left out."""
        nodes = (node for node in self.tree.find_all(exp.AggFunc) if not isinstance(node.parent, exp.Window))
        return [node for node in nodes if node.find_ancestor(exp.Select) is self.tree]

    @property
    def is_plain(self) -> bool:
        """Rows of the sources as they are: no groups, no aggregates, no windows."""
        return not (self.group or self.having or self.aggregates or self.tree.find(exp.Window))

    @property
    def is_whole(self) -> bool:
        """All rows, in any order."""
        return not (self.order or self.limit or self.offset)

    def rows_number(self) -> int | None:
        """LIMIT's number where it is one and there is no OFFSET."""
        number = self.limit.expression if self.limit else None
        return (
            int(number.name) if isinstance(number, exp.Literal) and number.name.isdigit() and not self.offset else None
        )

    def columns(self, node: exp.Expression | None = None) -> list[exp.Column]:
        return [column for column in (node or self.tree).find_all(exp.Column) if not isinstance(column.this, exp.Star)]

    def resolve(self, node: exp.Expression | None) -> tuple[str, Table, str] | None:
        """Alias, table and folded name of a column; None for anything else, and where it may be of two tables."""
        if not isinstance(node, exp.Column):
            return None
        name, qualifier = node.name.casefold(), node.table.casefold()
        owners = [
            (alias, table, name)
            for alias, table in self.sources.items()
            if name in table.columns and (not qualifier or alias.casefold() == qualifier)
        ]
        return owners[0] if len(owners) == 1 else None

    def column(self, alias: str, name: str) -> str:
        """A column's text, with its table where there are several."""
        return f"{alias}.{quoted(name)}" if len(self.sources) > 1 else quoted(name)

    @cached_property
    def links(self) -> list[Link]:
        """Joins along a key: declared, or with the column that is the other table's key."""
        links = []
        for join in self.joins:
            for equal in join.find_all(exp.EQ):
                ends = [(self.resolve(end), end) for end in (equal.this, equal.expression)]
                if all(end for end, _ in ends):
                    links += _link(ends[0], ends[1]) or _link(ends[1], ends[0])
        return links

    @cached_property
    def finest(self) -> str | None:
        """The source of which each row of the joins is one row: the only one, or the child of all others."""
        if len(self.sources) == 1:
            return next(iter(self.sources))
        children = {link.child for link in self.links} - {link.parent for link in self.links}
        linked = {name for link in self.links for name in (link.child, link.parent)}
        return next(iter(children)) if len(children) == 1 and linked == set(self.sources) else None

    def identifies(self, projections: Sequence[exp.Expression] | None = None) -> bool:
        """Whether a row of the result names one row of the sources, by a key or a label."""
        ends = [self.resolve(unaliased(p)) for p in (self.projections if projections is None else projections)]
        return any(end and end[0] == self.finest and end[1].identifies(end[2]) for end in ends)

    def build(self, **changes: object) -> str:
        """The query with some clauses changed: select, source, group, having, order, limit (texts, "" for none), where
        (a list), distinct."""
        parts = {
            "select": self.select,
            "distinct": self.distinct,
            "source": self.source,
            "where": self.where,
            "group": ", ".join(map(sql, self.group)),
            "having": sql(self.having.this) if self.having else "",
            "order": ", ".join(map(sql, self.order)),
            "limit": sql(self.limit.expression) if self.limit else "",
            "offset": sql(self.offset.expression) if self.offset else "",
        } | changes
        text = f"SELECT {'DISTINCT ' if parts['distinct'] else ''}{parts['select']} FROM {parts['source']}"
        for word, name in _CLAUSES.items():
            value = " AND ".join(parts[name]) if name == "where" else parts[name]
            text += f" {word} {value}" if value else ""
        return text

    def qualified(self) -> Query:
        """The same with every column's table written."""
        tree = self.tree.copy()
        for column in list(tree.find_all(exp.Column)):
            if not column.table and column.find_ancestor(exp.Select) is tree and (end := self.resolve(column)):
                column.set("table", exp.to_identifier(end[0]))
        return Query(tree, self.schema)

    def replaced(self, node: exp.Expression, text: str) -> str | None:
        """The query with an expression of it replaced by a text; None where that cannot be rendered."""
        return replaced(self.tree, [(node, text)])


_CLAUSES = {
    "WHERE": "where", "GROUP BY": "group", "HAVING": "having", "ORDER BY": "order", "LIMIT": "limit", "OFFSET": "offset"
}  # fmt: skip


def _is_and(where: exp.Where | None) -> bool:
    return where is not None and isinstance(where.this, exp.And)


def _link(child: tuple, parent: tuple) -> list[Link]:
    (child_name, child_table, child_column), child_node = child
    (parent_name, parent_table, parent_column), parent_node = parent
    is_declared = child_table.parents.get(child_column) == (parent_table.name.casefold(), parent_column)
    is_implied = parent_column == parent_table.key and child_column != child_table.key
    if (is_declared or is_implied) and child_name != parent_name:
        return [Link(child_name, sql(child_node), parent_name, sql(parent_node))]
    return []


def sql(node: exp.Expression) -> str:
    """A node's text in SQLite's dialect."""
    return node.sql(dialect="sqlite", comments=False)


def quoted(name: str) -> str:
    return name if re.fullmatch(r"[a-z_]\w*", name, re.IGNORECASE) else f'"{name}"'


def unaliased(node: exp.Expression) -> exp.Expression:
    return node.this if isinstance(node, exp.Alias) else node


def string(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def replaced(tree: exp.Expression, changes: Sequence[tuple[exp.Expression, str]]) -> str | None:
    """A tree's text with nodes replaced by texts of expressions."""
    generator = sqlglot.Dialect.get_or_raise("sqlite").generator(comments=False)
    edits = []
    for node, text in changes:
        new = exp.Var()
        new.args["this"] = text
        edits += [(owner, key, value, node.index) for owner, key, value in swap(node, new)]
    # Of two nodes in one list each edit would undo the other: they are put into one.
    merged: dict[tuple[int, str], tuple] = {}
    for owner, key, value, index in edits:
        place = (id(owner), key)
        if place in merged and index is not None:
            values = list(merged[place][2])
            values[index] = value[index]
            value = values
        merged[place] = (owner, key, value)
    return render(tree, list(merged.values()), generator)
