"""What a given database shows: its tables with columns, some of their rows, keys, and which column points to which."""

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.sandbox.database import Handle
from common.scoring.state import affinity, quote

MOST_ROWS = 400  # of each table; enough to see what its columns hold
MOST_TABLES = 40
DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DATE_NAME = re.compile(r"date|time|day|deadline|birth|timestamp", re.IGNORECASE)
_NAMING = re.compile(r"^(.*?)_?(id|name|title|nick|email|code|key|number|no|isbn|sku|username|uuid|ssn)$")
_KEY = re.compile(r"(^|_)(id|code|key|no|number)$|id$", re.IGNORECASE)


@dataclass
class Column:
    """A column that rows are made for. `kind`: integer, real, date, time, text or other (blobs, mixed values)."""

    table: str
    name: str
    kind: str
    values: list[object]  # the values of the rows seen, NULL left out, with repetitions
    has_null: bool
    not_null: bool
    unique: bool  # by the schema's own word
    names_rows: bool  # by its name and its rows: it names or numbers them
    parent: "Column | None" = None  # where its values come from
    parent_in_schema: bool = False

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


def read_survey(handle: Handle) -> Survey | None:
    """Read a database through its shared connection, or None where its like cannot be made."""
    handle.guard.begin("inspect")
    try:
        return _survey(handle.connection)
    except sqlite3.Error:
        return None


def _survey(connection: sqlite3.Connection) -> Survey | None:
    if connection.execute("SELECT 1 FROM sqlite_temp_master LIMIT 1").fetchall():
        return None
    master = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY rowid").fetchall()
    entries = [(kind, name, sql) for kind, name, sql in master if sql and not name.casefold().startswith("sqlite_")]
    if any(re.match(r"\s*create\s+virtual", sql, re.IGNORECASE) for _, _, sql in entries):
        return None
    names = [name for kind, name, _ in entries if kind == "table"]
    if not names or len(names) > MOST_TABLES:
        return None
    order = {"table": 0, "index": 1, "view": 2}
    definitions = sorted((entry for entry in entries if entry[0] in order), key=lambda entry: order[entry[0]])
    tables = [_table(connection, name) for name in names]
    _link(connection, tables)
    return Survey(
        _parents_first(tables),
        [sql for _, _, sql in definitions],
        [sql for kind, _, sql in entries if kind == "trigger"],
    )


def _table(connection: sqlite3.Connection, name: str) -> Table:
    facts = [row for row in connection.execute(f"PRAGMA table_xinfo({quote(name)})") if not row[6]]
    column_list = ", ".join(quote(row[1]) for row in facts)
    rows = connection.execute(f"SELECT {column_list} FROM {quote(name)} LIMIT {MOST_ROWS}").fetchall()
    keys = [tuple(row[1] for row in sorted(facts, key=lambda row: row[5]) if row[5])]
    for _, index, unique, _, partial in connection.execute(f"PRAGMA index_list({quote(name)})").fetchall():
        if unique and not partial:
            members = [row[2] for row in connection.execute(f"PRAGMA index_info({quote(index)})").fetchall()]
            if all(members):
                keys.append(tuple(members))
    single = {key[0] for key in keys if len(key) == 1}
    columns = []
    for position, (_, column, type_name, not_null, _, in_key, _) in enumerate(facts):
        cells = [row[position] for row in rows]
        values = [value for value in cells if value is not None]
        # One row alone shows nothing, but a name does.
        distinct = len(set(values)) == len(values) and len(values) == len(cells)
        columns.append(
            Column(
                table=name,
                name=column,
                kind=_kind(column, type_name, values),
                values=values,
                has_null=len(values) < len(cells),
                not_null=bool(not_null) or bool(in_key),
                unique=column in single,
                names_rows=distinct and _names_rows(column.casefold(), name.casefold()),
            )
        )
    return Table(name, columns, rows, sorted({key for key in keys if len(key) > 1}))


def _names_rows(column: str, table: str) -> bool:
    """Whether a column names or numbers the rows of its own table, and not those of another: id, staff_id, name."""
    match = _NAMING.match(column)
    if match is None:
        return False
    stem = match[1].strip("_").rstrip("s")
    return not stem or stem in table or table.rstrip("s") in stem or stem in ("first", "last", "full", "user")


def _kind(name: str, type_name: str, values: Sequence[object]) -> str:
    classes = {type(value) for value in values}
    if classes <= {str} and (values or affinity(type_name) in ("TEXT", "NUMERIC", "BLOB")):
        if values:
            if all(DATE.match(value) for value in values):
                return "time" if any(len(value) > 10 for value in values) else "date"
            return "text"
        if re.search(r"date|time", type_name, re.IGNORECASE) or (_DATE_NAME.search(name) and not type_name.strip()):
            return "time" if re.search(r"stamp|datetime", type_name, re.IGNORECASE) else "date"
        if affinity(type_name) == "TEXT":
            return "date" if re.search(r"(^|_)date$|^date", name, re.IGNORECASE) else "text"
    if classes == {int} or (not values and affinity(type_name) == "INTEGER"):
        return "integer"
    if classes <= {int, float}:
        return "real" if values or affinity(type_name) == "REAL" else "integer"
    return "other"


def _link(connection: sqlite3.Connection, tables: list[Table]) -> None:
    """Find each column's parent: declared, or by its name and its values."""
    places = {column.place: column for table in tables for column in table.columns}
    by_name = {table.name.casefold(): table for table in tables}
    for table in tables:
        for row in connection.execute(f"PRAGMA foreign_key_list({quote(table.name)})").fetchall():
            child = places.get((table.name.casefold(), row[3].casefold()))
            target = row[4] or next((c.name for c in by_name[row[2].casefold()].columns if c.unique), "")
            parent = places.get((row[2].casefold(), target.casefold()))
            if child and parent and child is not parent:
                child.parent, child.parent_in_schema = parent, True
    for child in places.values():
        if child.parent is None and not child.unique and _KEY.search(child.name):
            child.parent = next((p for table in tables if (p := _parent_by_name(child, table))), None)


def _parent_by_name(child: Column, table: Table) -> Column | None:
    """The key of another table that a column such as team_id means, where the rows bear it out."""
    if table.name == child.table:
        return None
    stem = re.sub(r"_?(id|code|key|no|number)$", "", child.name.casefold())
    table_name = table.name.casefold()
    for column in table.columns[:2]:  # a key stands in front
        name = column.name.casefold()
        is_key = name == child.name.casefold() or (
            stem and _KEY.search(name) and table_name.rstrip("s") in (stem, stem.rstrip("s"), f"{stem[:-1]}ie")
        )
        if is_key and (column.unique or column.names_rows) and set(child.values) <= set(column.values):
            return column
    return None


def equate(left: Column, right: Column) -> None:
    """A join compares two columns: the one whose values lie within the other's unique ones is its child."""
    for child, parent in ((left, right), (right, left)):
        if child.table == parent.table or child.parent or parent.parent is child:
            continue
        key = parent.unique or parent.names_rows or (parent.values and len(set(parent.values)) == len(parent.values))
        if key and not child.unique and set(child.values) <= set(parent.values) and not _reaches(parent, child):
            child.parent = parent
            return


def _reaches(column: Column, target: Column) -> bool:
    steps = 0
    while column.parent is not None and steps < MOST_TABLES:
        column, steps = column.parent, steps + 1
        if column is target or column.table == target.table:
            return True
    return column.table == target.table


def _parents_first(tables: list[Table]) -> list[Table]:
    order: list[Table] = []
    remaining = list(tables)
    while remaining:
        ready = [
            table
            for table in remaining
            if not any(
                c.parent and c.parent.table != table.name and any(c.parent.table == other.name for other in remaining)
                for c in table.columns
            )
        ]
        for table in ready or remaining[:1]:  # a circle is cut anywhere
            order.append(table)
            remaining.remove(table)
    return order


def order_again(survey: Survey) -> None:
    """Parents first, after joins have shown more of them."""
    survey.tables = _parents_first(survey.tables)
