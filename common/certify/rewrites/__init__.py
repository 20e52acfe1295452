"""Rewrites of a reference that mean the same on every SQLite database of its schema: right answers, written otherwise.

Only a reference is rewritten, never a completion. Each rewrite changes one thing; a kind that would need knowledge of
the data (a key that is unique, a column without NULL) is not made. Where something stands in the way of a proof, fewer
kinds are made: a text that sqlglot would not write back word for word keeps its tokens, a collation anywhere rules out
moved operands, and a result that may follow the order in which SQLite visits rows (see `safety.plan_shows`) keeps its
plan. Sums of floats may differ in the last digits by the order of rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import sqlglot
from sqlglot import exp

from common.certify.rewrites import conditions, queries, safety, texts, writes
from common.mutations.edits import render

MOST_OF_ONE_KIND = 3
LONGEST = 20_000  # characters, the longest statement that the sandbox runs


@dataclass(frozen=True)
class Rewrite:
    """The same in other words. kind: what was changed, e.g. `comparison flipped`."""

    kind: str
    sql: str


def rewrites(sql: str, schema: str = "") -> list[Rewrite]:
    """Rewrites of a reference, in a fixed order, each text once and none equal to the reference.

    schema: its CREATE TABLE statements; without it kinds that need the tables' columns are not made. Never raises.
    """
    if len(sql) > LONGEST:
        return []
    by_text: dict[str, Rewrite] = {}
    counts: dict[str, int] = {}
    for kind, text in _all(sql, schema):
        if text != sql and text not in by_text and counts.get(kind, 0) < MOST_OF_ONE_KIND:
            counts[kind] = counts.get(kind, 0) + 1
            by_text[text] = Rewrite(kind, text)
    return list(by_text.values())


def _all(sql: str, schema: str) -> Iterator[tuple[str, str]]:
    yield from texts.of_text(sql)
    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of what it cannot parse; we make nothing of it
    try:
        trees = [tree for tree in sqlglot.parse(sql, dialect="sqlite") if tree is not None]
        if len(trees) == 1 and isinstance(trees[0], exp.Create | exp.Alter):
            yield "type name", writes.other_type_names(sql)
        if len(trees) == 1 and isinstance(trees[0], exp.Query | exp.DML):
            yield from _of_tree(trees[0], sql, schema)
    except Exception:  # whatever sqlglot raises on an odd text, RecursionError included
        return


def _of_tree(tree: exp.Expression, sql: str, schema: str) -> Iterator[tuple[str, str]]:
    generator = sqlglot.Dialect.get_or_raise("sqlite").generator(comments=False)
    base = generator.generate(tree, copy=False)
    if not safety.survives(sql, base):
        return
    yield "rendering", base
    columns = _columns(schema)
    keeps_plan = safety.plan_shows(tree)
    has_collation = "collate" in f"{sql} {schema}".lower()
    kinds = [*queries.same_plan(tree, columns)]
    for node in list(tree.walk()):
        kinds += conditions.same_plan(node)
        if not keeps_plan and not has_collation:
            kinds += conditions.of_node(node, tree)
    if not keeps_plan and not has_collation:
        kinds += queries.other_plan(tree)
        kinds += writes.of_statement(tree, columns)
    for kind, edits in kinds:
        text = render(tree, edits, generator)
        if text is not None:
            yield kind, text


def _columns(schema: str) -> dict[str, list[str]]:
    """The columns of each table, names case-folded, as INSERT without a column list fills them; {} where unclear."""
    try:
        columns = {}
        for tree in sqlglot.parse(schema, dialect="sqlite"):
            if isinstance(tree, exp.Create) and tree.kind == "TABLE" and isinstance(tree.this, exp.Schema):
                definitions = [part for part in tree.this.expressions if isinstance(part, exp.ColumnDef)]
                if not any(part.find(exp.GeneratedAsIdentityColumnConstraint, exp.ComputedColumnConstraint)
                           for part in definitions):  # fmt: skip
                    columns[tree.this.this.name.casefold()] = [part.name.casefold() for part in definitions]
            elif isinstance(tree, exp.Alter | exp.Drop):
                return {}
        return columns
    except Exception:
        return {}
