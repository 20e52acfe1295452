"""Keys: which column's values come from which other one, declared or not, and what a child's rows share.

A link is taken where the schema names it, where names and rows bear it out, or where the reference joins two columns
whose values lie within each other. A foreign key to a table or column that is not there is no link.
"""

import re
from collections.abc import Sequence
from math import prod

from common.scoring.state import quote
from common.scoring.suites.naming import singulars
from common.scoring.suites.survey import MOST_TABLES, Column, Survey, Table

CHANCE = 0.1  # what would be rarer by chance alone is none
_KEY = re.compile(r"(^|_)(id|code|key|no|number)$|id$", re.IGNORECASE)


def link(survey: Survey) -> None:
    """Find each column's parent: declared, or by its name and its values; then put parents before children."""
    places = {column.place: column for column in survey.columns()}
    for table in survey.tables:
        for child, parent in _declared(survey, table, places):
            if child is not parent and not _reaches(parent, child, own_table=True):
                child.parent, child.parent_in_schema = parent, True
    for child in places.values():
        if child.parent is None and not child.unique and _KEY.search(child.name):
            parents = (_parent_by_name(child, table, survey) for table in survey.tables)
            child.parent = next((parent for parent in parents if parent), None)
    order_again(survey)


def _declared(survey: Survey, table: Table, places: dict[tuple[str, str], Column]) -> list[tuple[Column, Column]]:
    """(child, parent) of the foreign keys whose both ends are there."""
    by_name = {table.name.casefold(): table for table in survey.tables}
    survey.handle.guard.begin("inspect")
    pairs = []
    for row in survey.handle.connection.execute(f"PRAGMA foreign_key_list({quote(table.name)})").fetchall():
        there = by_name.get(row[2].casefold())
        target = row[4] or next((c.name for c in there.columns if c.unique), "") if there else ""
        child = places.get((table.name.casefold(), row[3].casefold()))
        parent = places.get((row[2].casefold(), target.casefold()))
        if child and parent:
            pairs.append((child, parent))
    return pairs


def _parent_by_name(child: Column, table: Table, survey: Survey) -> Column | None:
    """The key of another table that a column such as team_id means, where the rows bear it out."""
    if table.name == child.table:
        return None
    stem = re.sub(r"_?(id|code|key|no|number)$", "", child.name.casefold())
    for column in table.columns[:2]:  # a key stands in front
        name = column.name.casefold()
        is_key = name == child.name.casefold() or (
            stem and _KEY.search(name) and bool(singulars(table.name) & singulars(stem))
        )
        is_parent = column.unique or (column.names_rows and column.parent is None)
        if is_key and is_parent and survey.contains(child, column):
            return column
    return None


def equate(survey: Survey, left: Column, right: Column) -> None:
    """A join compares two columns: the one whose values lie within the other's unique ones is its child."""
    for child, parent in ((left, right), (right, left)):
        own_table = child.table == parent.table
        if child.parent or parent.parent is child or (own_table and child.names_rows):
            continue
        is_key = parent.unique or parent.names_rows or (parent.distinct and not own_table)
        is_child = is_key and not child.unique and survey.contains(child, parent)
        if is_child and not _reaches(parent, child, own_table=own_table):
            child.parent = parent
            return


def _reaches(column: Column, target: Column, *, own_table: bool = False) -> bool:
    """Whether the way up from a column leads to a target or, unless it may be its own, to the target's table."""
    steps = 0
    while column.parent is not None and steps < MOST_TABLES:
        column, steps = column.parent, steps + 1
        if column is target or (column.table == target.table and not own_table):
            return True
    return column.table == target.table and not own_table


def order_again(survey: Survey) -> None:
    """Parents first, tables as the columns within one; a circle is cut anywhere."""
    order: list[Table] = []
    remaining = list(survey.tables)
    while remaining:
        names = {table.name for table in remaining}
        ready = [
            table
            for table in remaining
            if not any(c.parent and c.parent.table != table.name and c.parent.table in names for c in table.columns)
        ]
        for table in ready or remaining[:1]:
            order.append(table)
            remaining.remove(table)
    survey.tables = order


def note_shares(survey: Survey, groups: bool) -> None:
    """What no two rows of a child share, though it is not declared: its key where that is no chance, pairs of keys.

    groups: the reference counts by groups, which wants several rows of a parent.
    """
    for table in survey.tables:
        keys = [column for column in table.columns if column.parent is not None]
        for column in keys:
            is_part = any(column.name in names for names in table.unique_sets)  # a key of several columns wants repeats
            if column.distinct and not (column.unique or is_part or groups) and _is_no_chance(column):
                column.one_to_one = True
        named = any(column.unique or (column.names_rows and column.parent is None) for column in table.columns)
        names = tuple(column.name for column in keys)
        if not named and not table.unique_sets and len(keys) > 1 and table.is_distinct(names):
            table.distinct_sets.append(names)


def _is_no_chance(column: Column) -> bool:
    """Whether so many different keys of so many parents would seldom come out by chance."""
    parents: Sequence[object] = column.parent.values if column.parent else ()
    most = len(set(parents)) or 1
    return prod(max(0.0, 1 - number / most) for number in range(len(column.values))) < CHANCE
