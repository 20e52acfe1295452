"""A schema's tables, their keys, and the columns by which people name their rows.

Keys are declared ones, and where a table declares none the column that is called `id`, or the first where it is named
after the table, as `town_id` is. A label is the column that people name a row by: `name`, `title`, the table's own
word, or the first text column beside the key. Data is not looked at: which labels repeat in the given rows is for the
caller to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import sqlglot
from sqlglot import exp

_LABELS = frozenset({"name", "title", "label", "full_name", "fullname", "names", "titles"})
_PERSONAL = re.compile(r"^(first|last|middle|family|given|f|l)_?name$")
_NO_LABEL = re.compile(r"line|addr|note|desc|detail|comment|city|country|location|state|date|time|type|status|\d")
_TEXT = re.compile(r"CHAR|TEXT|CLOB", re.IGNORECASE)
_INTEGER = re.compile(r"INT", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """A table of the schema. columns: declared types by folded name. parents: of a child key, table and column."""

    name: str
    columns: Mapping[str, str]
    key: str | None
    parents: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    repeats: frozenset[str] = frozenset()  # columns whose values are known to repeat

    @cached_property
    def labels(self) -> frozenset[str]:
        names = {name for name in self.columns if self._is_label(name)}
        if not names:
            others = [name for name in self.columns if name != self.key and name not in self.parents]
            names = {n for n in others[:1] if self.is_text(n) and not _PERSONAL.match(n) and not _NO_LABEL.search(n)}
        return frozenset(names - self.repeats)

    def is_text(self, column: str) -> bool:
        return bool(_TEXT.search(self.columns.get(column, "")))

    def is_integer(self, column: str) -> bool:
        return bool(_INTEGER.search(self.columns.get(column, "")))

    def identifies(self, column: str) -> bool:
        """Whether a value of this column names one row, as people mean it."""
        return column == self.key or column in self.labels

    def _is_label(self, name: str) -> bool:
        if _PERSONAL.match(name):
            return False
        stem = re.sub(r"_?(name|title)$", "", name)
        names_rows = bool(stem) and stem != name and self.name.casefold().startswith(stem[:4])
        return name in _LABELS or names_rows


def tables(schema: str) -> dict[str, Table]:
    """The tables that a schema makes, by folded name; {} where it cannot be parsed."""
    try:
        trees = [tree for tree in sqlglot.parse(schema, dialect="sqlite") if isinstance(tree, exp.Create)]
    except Exception:  # whatever sqlglot raises on an odd text
        return {}
    trees = [tree for tree in trees if tree.kind == "TABLE" and isinstance(tree.this, exp.Schema)]
    first = {tree.this.this.name.casefold(): _key(tree.this) for tree in trees}
    return {
        tree.this.this.name.casefold(): Table(
            tree.this.this.name,
            {c.name.casefold(): c.kind.sql() if c.kind else "" for c in _columns(tree.this)},
            first[tree.this.this.name.casefold()],
            _parents(tree.this, first),
        )
        for tree in trees
    }


def _columns(schema: exp.Schema) -> list[exp.ColumnDef]:
    return [part for part in schema.expressions if isinstance(part, exp.ColumnDef)]


def _key(schema: exp.Schema) -> str | None:
    columns = _columns(schema)
    names = [column.name.casefold() for column in columns]
    for column in columns:
        if column.find(exp.PrimaryKeyColumnConstraint):
            return column.name.casefold()
    if primary := next(schema.find_all(exp.PrimaryKey), None):
        return primary.expressions[0].name.casefold() if len(primary.expressions) == 1 else None
    if "id" in names:
        return "id"
    first, table = names[0] if names else "", schema.this.name.casefold()
    return first if first.endswith("id") and table.startswith(first.removesuffix("id").rstrip("_")[:4]) else None


def _parents(schema: exp.Schema, keys: Mapping[str, str | None]) -> dict[str, tuple[str, str]]:
    pairs = [(foreign.expressions, foreign.args.get("reference")) for foreign in schema.find_all(exp.ForeignKey)]
    pairs += [([column.this], reference) for column in _columns(schema) for reference in column.find_all(exp.Reference)]
    parents = {}
    for children, reference in pairs:
        target = reference.this if reference else None
        table = target.this if isinstance(target, exp.Schema) else target
        if table is None or len(children) != 1:
            continue
        name = table.name.casefold()
        column = target.expressions[0].name.casefold() if isinstance(target, exp.Schema) else keys.get(name)
        if column:
            parents[children[0].name.casefold()] = (name, column)
    return parents
