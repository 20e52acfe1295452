"""Readings of a reference: other ways to ask the same, right as the question is meant but not on every database.

`ORDER BY x LIMIT 1` for `x = (SELECT MIN(x) …)` is right where no two rows tie, COUNT(key) for COUNT(*) where no key is
missing, GROUP BY name for GROUP BY id where no two rows share a name. Whether one is right on the given rows is not
decided here: `common.certify.equivalents` keeps those that match strictly. Only a reference is parsed, never a
completion. Not made: other columns or their order, other constants, answers to another understanding of the question,
and anything of statements that write.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache

import sqlglot
from sqlglot import exp

from common.certify.readings import counting, joining, layout, membership, superlatives, values, windows
from common.certify.readings.structure import Query
from common.certify.readings.tables import Table, tables
from common.certify.rewrites import LONGEST, rewrites, safety

MOST_OF_ONE_FORM = 2
# clear: right for all data that people would expect. debatable: not so where the data were a little different, as with
# DISTINCT dropped where no two rows happen to be equal. layout: the same facts in other columns or types.
GROUPS = ("clear", "debatable", "layout")
Repeats = frozenset[tuple[str, str]]  # a table's name with a column's


@dataclass(frozen=True)
class Reading:
    """The same question asked otherwise. form: how, e.g. `LIMIT 1 as = (SELECT MAX)`. group: one of GROUPS."""

    form: str
    sql: str
    group: str


def readings(sql: str, schema: str, repeats: Repeats = frozenset()) -> list[Reading]:
    """Readings of a reference in a fixed order, each text once; none is the reference or one of its `rewrites`.

    schema: its CREATE TABLE statements. repeats: of `labels(schema)` those whose values repeat in the given rows, so
    that they name no row. Empty where a text cannot be parsed. Never raises.
    """
    if len(sql) > LONGEST:
        return []
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    by_text: dict[str, Reading] = {}
    counts: dict[str, int] = {}
    try:
        for form, text, group in _all(sql, _tables(schema, repeats)):
            key = _plain(text) if text else ""
            if key and key != _plain(sql) and key not in by_text and counts.get(form, 0) < MOST_OF_ONE_FORM:
                counts[form] = counts.get(form, 0) + 1
                by_text[key] = Reading(form, text, group)
    except Exception:  # whatever sqlglot raises on an odd text; what there is so far is good
        pass
    equals = {_plain(rewrite.sql) for rewrite in rewrites(sql, schema)} if by_text else set()
    return [reading for key, reading in by_text.items() if key not in equals]


def labels(schema: str) -> list[tuple[str, str]]:
    """Tables, as they are written, with a column by which people name their rows."""
    return [(table.name, column) for table in _tables(schema).values() for column in sorted(table.labels)]


@lru_cache(maxsize=256)
def _tables(schema: str, repeats: Repeats = frozenset()) -> Mapping[str, Table]:
    return {
        name: replace(table, repeats=frozenset(column for owner, column in repeats if owner == table.name))
        for name, table in tables(schema).items()
    }


def _plain(text: str) -> str:
    return " ".join(text.replace(";", " ").replace("(", " ( ").replace(")", " ) ").split()).casefold()


def _all(sql: str, schema: Mapping[str, Table]) -> Iterator[tuple[str, str | None, str]]:
    """Form, text and group."""
    trees = [tree for tree in sqlglot.parse(sql, dialect="sqlite") if tree is not None]
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        return
    tree = trees[0]
    if not safety.survives(sql, tree.sql(dialect="sqlite", comments=False)):
        return
    tree = _with_strings(tree, schema)
    for form, text, debatable in _forms(tree, schema):
        yield form, text, "debatable" if debatable else "clear"
    if isinstance(tree, exp.Select):
        with suppress(ValueError):
            yield from ((form, text, "layout") for form, text in layout.forms(Query(tree, schema)))


def _forms(tree: exp.Query, schema: Mapping[str, Table]) -> Iterator[tuple[str, str | None, bool]]:
    if isinstance(tree, exp.SetOperation):
        yield from membership.of_sets(tree, schema)
    elif isinstance(tree, exp.Select):
        yield from windows.of_firsts(tree, schema)
        yield from windows.of_totals(tree, schema)
    selects = [tree, *(node for node in tree.find_all(exp.Select) if node is not tree)]
    for select in selects:
        try:
            query = Query(select, schema)
        except (ValueError, AttributeError):
            continue
        if select is tree:
            for part in (superlatives, membership, joining, windows):
                yield from part.forms(query)
        for part in (counting, values):
            yield from part.forms(query, tree)


def _with_strings(tree: exp.Expression, schema: Mapping[str, Table]) -> exp.Expression:
    """Strings in double quotes as strings: names in quotes that no table has."""
    names = {column for table in schema.values() for column in table.columns}
    names |= {node.alias.casefold() for node in tree.find_all(exp.Alias)}
    for column in list(tree.find_all(exp.Column)):
        if column.this.args.get("quoted") and not column.table and column.name.casefold() not in names:
            column.replace(exp.Literal.string(column.name))
    return tree
