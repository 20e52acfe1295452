"""What a given database shows: its tables with columns, some of their rows, keys, and which column points to which."""

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.sandbox.database import Open
from common.scoring.state import affinity, quoted

MOST_ROWS = 400  # of each table; enough to see what its columns hold
MOST_TABLES = 40
DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DATED = re.compile(r"date|time|day|deadline|birth|timestamp", re.IGNORECASE)
_NAMING = re.compile(r"^(.*?)_?(id|name|title|nick|email|code|key|number|no|isbn|sku|username|uuid|ssn)$")
_KEY = re.compile(r"(^|_)(id|code|key|no|number)$|id$", re.IGNORECASE)


@dataclass
class Column:
    """A column that rows are made for. `kind`: integer, real, date, time, text or other (blobs, mixed values)."""

    table: str
    name: str
    kind: str
    given: list[object]  # the values of the rows seen, NULL left out, with repetitions
    has_null: bool
    not_null: bool
    unique: bool  # by the schema's own word
    naming: bool  # by its name and its rows: it names or numbers them
    parent: "Column | None" = None  # where its values come from
    declared_parent: bool = False

    @property
    def place(self) -> tuple[str, str]:
        """Table and name, case-folded: what a mention of it is looked up by."""
        return (self.table.casefold(), self.name.casefold())


@dataclass
class Table:
    """A table: its columns in order, without generated ones, and the rows seen."""

    name: str
    columns: list[Column]
    rows: list[tuple[object, ...]]
    unique_sets: list[tuple[str, ...]] = field(default_factory=list)  # declared keys of several columns


@dataclass
class Survey:
    """The tables, parents before children where that is possible, and the statements that make them."""

    tables: list[Table]
    definitions: list[str]  # CREATE TABLE, VIEW and INDEX
    triggers: list[str]

    def columns(self) -> list[Column]:
        """Every column of every table."""
        return [column for table in self.tables for column in table.columns]


def look(opened: Open) -> Survey | None:
    """Read a database through its shared connection, or None where its like cannot be made."""
    opened.guard.begin("inspect")
    try:
        return _look(opened.connection)
    except sqlite3.Error:
        return None


def _look(connection: sqlite3.Connection) -> Survey | None:
    if connection.execute("SELECT 1 FROM sqlite_temp_master LIMIT 1").fetchall():
        return None
    master = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY rowid").fetchall()
    named = [(kind, name, sql) for kind, name, sql in master if sql and not name.casefold().startswith("sqlite_")]
    if any(re.match(r"\s*create\s+virtual", sql, re.IGNORECASE) for _, _, sql in named):
        return None
    names = [name for kind, name, _ in named if kind == "table"]
    if not names or len(names) > MOST_TABLES:
        return None
    order = {"table": 0, "index": 1, "view": 2}
    made = sorted((entry for entry in named if entry[0] in order), key=lambda entry: order[entry[0]])
    tables = [_table(connection, name) for name in names]
    _link(connection, tables)
    return Survey(
        _parents_first(tables), [sql for _, _, sql in made], [sql for kind, _, sql in named if kind == "trigger"]
    )


def _table(connection: sqlite3.Connection, name: str) -> Table:
    facts = [row for row in connection.execute(f"PRAGMA table_xinfo({quoted(name)})") if not row[6]]
    listed = ", ".join(quoted(row[1]) for row in facts)
    rows = connection.execute(f"SELECT {listed} FROM {quoted(name)} LIMIT {MOST_ROWS}").fetchall()
    keys = [tuple(row[1] for row in sorted(facts, key=lambda row: row[5]) if row[5])]
    for _, index, unique, _, partial in connection.execute(f"PRAGMA index_list({quoted(name)})").fetchall():
        if unique and not partial:
            members = [row[2] for row in connection.execute(f"PRAGMA index_info({quoted(index)})").fetchall()]
            if all(members):
                keys.append(tuple(members))
    single = {key[0] for key in keys if len(key) == 1}
    columns = []
    for position, (_, column, declared, not_null, _, in_key, _) in enumerate(facts):
        seen = [row[position] for row in rows]
        given = [value for value in seen if value is not None]
        # One row alone shows nothing, but a name does.
        distinct = len(set(given)) == len(given) and len(given) == len(seen)
        columns.append(
            Column(
                table=name,
                name=column,
                kind=_kind(column, declared, given),
                given=given,
                has_null=len(given) < len(seen),
                not_null=bool(not_null) or bool(in_key),
                unique=column in single,
                naming=distinct and _names_rows(column.casefold(), name.casefold()),
            )
        )
    return Table(name, columns, rows, sorted({key for key in keys if len(key) > 1}))


def _names_rows(column: str, table: str) -> bool:
    """Whether a column names or numbers the rows of its own table, and not those of another: id, staff_id, name."""
    found = _NAMING.match(column)
    if found is None:
        return False
    stem = found[1].strip("_").rstrip("s")
    return not stem or stem in table or table.rstrip("s") in stem or stem in ("first", "last", "full", "user")


def _kind(name: str, declared: str, given: Sequence[object]) -> str:
    classes = {type(value) for value in given}
    if classes <= {str} and (given or affinity(declared) in ("TEXT", "NUMERIC", "BLOB")):
        if given:
            if all(DATE.match(value) for value in given):
                return "time" if any(len(value) > 10 for value in given) else "date"
            return "text"
        if re.search(r"date|time", declared, re.IGNORECASE) or (_DATED.search(name) and not declared.strip()):
            return "time" if re.search(r"stamp|datetime", declared, re.IGNORECASE) else "date"
        if affinity(declared) == "TEXT":
            return "date" if re.search(r"(^|_)date$|^date", name, re.IGNORECASE) else "text"
    if classes == {int} or (not given and affinity(declared) == "INTEGER"):
        return "integer"
    if classes <= {int, float}:
        return "real" if given or affinity(declared) == "REAL" else "integer"
    return "other"


def _link(connection: sqlite3.Connection, tables: list[Table]) -> None:
    """Find each column's parent: declared, or by its name and its values."""
    places = {column.place: column for table in tables for column in table.columns}
    named = {table.name.casefold(): table for table in tables}
    for table in tables:
        for row in connection.execute(f"PRAGMA foreign_key_list({quoted(table.name)})").fetchall():
            child = places.get((table.name.casefold(), row[3].casefold()))
            target = row[4] or next((c.name for c in named[row[2].casefold()].columns if c.unique), "")
            parent = places.get((row[2].casefold(), target.casefold()))
            if child and parent and child is not parent:
                child.parent, child.declared_parent = parent, True
    for child in places.values():
        if child.parent is None and not child.unique and _KEY.search(child.name):
            child.parent = next((p for table in tables if (p := _parent_by_name(child, table))), None)


def _parent_by_name(child: Column, table: Table) -> Column | None:
    """The key of another table that a column such as team_id means, where the rows bear it out."""
    if table.name == child.table:
        return None
    stem = re.sub(r"_?(id|code|key|no|number)$", "", child.name.casefold())
    own = table.name.casefold()
    for column in table.columns[:2]:  # a key stands in front
        name = column.name.casefold()
        related = name == child.name.casefold() or (
            stem and _KEY.search(name) and own.rstrip("s") in (stem, stem.rstrip("s"), f"{stem[:-1]}ie")
        )
        if related and (column.unique or column.naming) and set(child.given) <= set(column.given):
            return column
    return None


def equate(left: Column, right: Column) -> None:
    """A join compares two columns: the one whose values lie within the other's unique ones is its child."""
    for child, parent in ((left, right), (right, left)):
        if child.table == parent.table or child.parent or parent.parent is child:
            continue
        key = parent.unique or parent.naming or (parent.given and len(set(parent.given)) == len(parent.given))
        if key and not child.unique and set(child.given) <= set(parent.given) and not _reaches(parent, child):
            child.parent = parent
            return


def _reaches(column: Column, target: Column) -> bool:
    seen = 0
    while column.parent is not None and seen < MOST_TABLES:
        column, seen = column.parent, seen + 1
        if column is target or column.table == target.table:
            return True
    return column.table == target.table


def _parents_first(tables: list[Table]) -> list[Table]:
    ordered: list[Table] = []
    waiting = list(tables)
    while waiting:
        ready = [
            table
            for table in waiting
            if not any(
                c.parent and c.parent.table != table.name and any(c.parent.table == other.name for other in waiting)
                for c in table.columns
            )
        ]
        for table in ready or waiting[:1]:  # a circle is cut anywhere
            ordered.append(table)
            waiting.remove(table)
    return ordered


def order_again(survey: Survey) -> None:
    """Parents first, after joins have shown more of them."""
    survey.tables = _parents_first(survey.tables)
