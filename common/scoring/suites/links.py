"""Keys: which column's values come from which other one, declared or not, and what a child's rows share.

A link is taken where the schema names it, where names and rows bear it out, or where the reference joins two columns
whose values lie within each other. A foreign key to a table or column that is not there is no link.
"""

import re
from collections import Counter
from collections.abc import Sequence
from math import prod

from common.scoring.state import quote
from common.scoring.suites.naming import singulars
from common.scoring.suites.survey import MOST_TABLES, Column, Survey, Table

CHANCE = 0.1  # what would be rarer by chance alone is none
_KEY = re.compile(r"(^|_)(id|code|key|no|number)$|id$", re.IGNORECASE)
_KEY_ENDING = re.compile(r"_?(id|code|key|no|number)$")


def link(survey: Survey) -> None:
    """Find each column's parent: declared, or by its name and its values; then put parents before children."""
    places = {column.place: column for column in survey.columns()}
    for table in survey.tables:
        for child, parent in _declared(survey, table, places):
            if child is not parent and not _reaches(parent, child, own_table=True):
                child.parent, child.parent_in_schema = parent, True
    for child in places.values():
        is_free = child.parent is None and not child.unique and not _numbers_rows(child)
        if is_free and (_KEY.search(child.name) or _is_called_like_a_table(child, survey)):
            parents = (_parent_by_name(child, table, survey) for table in survey.tables)
            child.parent = next((parent for parent in parents if parent), None)
    order_again(survey)


def _stem(column: Column) -> str:
    return _KEY_ENDING.sub("", column.name.casefold())


def _numbers_rows(column: Column) -> bool:
    """Whether a column is its own table's key by name and rows: other tables have an id as well, but not the same."""
    stem = _stem(column)
    return column.names_rows and (not stem or bool(singulars(column.table) & singulars(stem)))


def _is_called_like_a_table(child: Column, survey: Survey) -> bool:
    """Whether a number is called like another table, as customer in a table of orders."""
    stem = child.name.casefold()
    return child.kind == "integer" and any(
        stem in singulars(table.name) for table in survey.tables if table.name != child.table
    )


def _means(stem: str, table: Table) -> bool:
    """Whether a key's name, its ending left out, is that of a table, with or without a role: home_team for teams."""
    names = singulars(table.name)
    return bool(names & singulars(stem)) or any(stem.endswith(f"_{name}") for name in names)


def _declared(survey: Survey, table: Table, places: dict[tuple[str, str], Column]) -> list[tuple[Column, Column]]:
    """(child, parent) of the foreign keys whose both ends are there."""
    by_name = {table.name.casefold(): table for table in survey.tables}
    survey.handle.guard.begin("inspect")
    pairs: list[tuple[Column, Column]] = []
    composites: dict[int, list[tuple[Column, Column]]] = {}
    rows = survey.handle.connection.execute(f"PRAGMA foreign_key_list({quote(table.name)})").fetchall()
    widths = Counter(row[0] for row in rows)
    for row in rows:
        there = by_name.get(row[2].casefold())
        target = row[4] or _primary_key(there, row[1], widths[row[0]]) if there else ""
        child = places.get((table.name.casefold(), row[3].casefold()))
        parent = places.get((row[2].casefold(), target.casefold()))
        if child and parent:
            (composites.setdefault(row[0], []) if widths[row[0]] > 1 else pairs).append((child, parent))
    for number, links in composites.items():
        if len(links) == widths[number]:
            ours, theirs = ([column.name for column in side] for side in zip(*links, strict=True))
            table.composite_links.append((ours, links[0][1].table, theirs))
    return [*pairs, *(link for links in composites.values() for link in links)]


def _primary_key(table: Table, place: int, width: int) -> str:
    """The column that a foreign key means which names none: of the only key of so many columns; "" where it is open."""
    if width == 1:
        return next((column.name for column in table.columns if column.unique), "")
    keys = [names for names in table.unique_sets if len(names) == width]
    return keys[0][place] if len(keys) == 1 else ""


def _parent_by_name(child: Column, table: Table, survey: Survey) -> Column | None:
    """The key of another table that a column such as team_id means, where the rows bear it out."""
    if table.name == child.table:
        return None
    stem = _stem(child)
    for column in table.columns[:2]:  # a key stands in front
        name = column.name.casefold()
        is_key = name == child.name.casefold() or (stem and _KEY.search(name) and _means(stem, table))
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
