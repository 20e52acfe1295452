"""What a given database shows: its tables with columns, some of their rows, and what their values are like."""

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.sandbox.connections import Handle
from common.scoring.state import affinity, quote
from common.scoring.suites.formats import Format, format_of
from common.scoring.suites.naming import is_label, is_name

MOST_ROWS = 400  # of each table; enough to see what its columns hold
MOST_TABLES = 40
DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DATE_NAME = re.compile(r"date|time|day|deadline|birth|timestamp", re.IGNORECASE)


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
    distinct: bool  # no given value twice, none missing
    names_rows: bool  # by its name and its rows: it names or numbers them
    format: Format | None = None  # of texts
    parent: "Column | None" = None  # where its values come from
    parent_in_schema: bool = False
    one_to_one: bool = False  # a child's key that no two given rows share, which is no chance

    @property
    def place(self) -> tuple[str, str]:
        """Table and name, case-folded: what a mention of it is looked up by."""
        return (self.table.casefold(), self.name.casefold())


@dataclass
class Table:
    """A table: its columns in order, without generated ones, and the rows seen.

    unique_sets: declared keys of several columns. distinct_sets: columns that no two given rows share, undeclared.
    complete: the rows seen are all there are.
    """

    name: str
    columns: list[Column]
    rows: list[tuple[object, ...]]
    complete: bool
    unique_sets: list[tuple[str, ...]] = field(default_factory=list)
    distinct_sets: list[tuple[str, ...]] = field(default_factory=list)
    # Declared foreign keys of several columns: ours, the parent's table, and its columns.
    composite_links: list[tuple[list[str], str, list[str]]] = field(default_factory=list)

    def is_distinct(self, names: Sequence[str]) -> bool:
        """Whether no two of the rows seen share these columns, and there are two."""
        places = [i for i, column in enumerate(self.columns) if column.name in names]
        keys = {tuple(row[i] for i in places) for row in self.rows}
        return len(self.rows) > 1 and len(keys) == len(self.rows)


@dataclass
class Survey:
    """The tables, parents before children where that is possible, and the statements that make them."""

    tables: list[Table]
    definitions: list[str]  # CREATE TABLE, VIEW and INDEX
    triggers: list[str]
    handle: Handle

    def columns(self) -> list[Column]:
        """Every column of every table."""
        return [column for table in self.tables for column in table.columns]

    def table(self, column: Column) -> Table:
        """The table of a column."""
        return next(table for table in self.tables if table.name == column.table)

    def contains(self, child: Column, parent: Column) -> bool:
        """Whether every given value of one column is one of another's; asks the database where not all were seen."""
        if self.table(child).complete and self.table(parent).complete:
            return set(child.values) <= set(parent.values)
        ours, theirs = quote(child.name), quote(parent.name)
        sql = (
            f"SELECT 1 FROM {quote(child.table)} WHERE {ours} NOT IN "
            f"(SELECT {theirs} FROM {quote(parent.table)} WHERE {theirs} NOT NULL) LIMIT 1"
        )
        return self._ask(sql) == []

    def _ask(self, sql: str) -> list[tuple[object, ...]] | None:
        return _ask(self.handle, sql)


def is_year(numbers: Sequence[float]) -> bool:
    """Whether numbers are years, of which half is none."""
    return min(numbers) >= 1500 and max(numbers) <= 2200


def _ask(handle: Handle, sql: str) -> list[tuple[object, ...]] | None:
    """The rows of a question of ours, None where it costs too much."""
    handle.guard.begin("inspect")
    try:
        return handle.connection.execute(sql).fetchall()
    except sqlite3.Error:
        return None


def read_survey(handle: Handle) -> Survey | None:
    """Read a database through its shared connection, or None where its like cannot be made. Keys: see `links`."""
    handle.guard.begin("inspect")
    try:
        return _survey(handle)
    except sqlite3.Error:
        return None


def _survey(handle: Handle) -> Survey | None:
    connection = handle.connection
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
    return Survey(
        [_table(handle, name) for name in names],
        [sql for _, _, sql in definitions],
        [sql for kind, _, sql in entries if kind == "trigger"],
        handle,
    )


def _table(handle: Handle, name: str) -> Table:
    connection = handle.connection
    facts = [row for row in connection.execute(f"PRAGMA table_xinfo({quote(name)})") if not row[6]]
    column_list = ", ".join(quote(row[1]) for row in facts)
    rows = connection.execute(f"SELECT {column_list} FROM {quote(name)} LIMIT {MOST_ROWS + 1}").fetchall()
    complete, rows = len(rows) <= MOST_ROWS, rows[:MOST_ROWS]
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
        if distinct and not complete:
            counts = _ask(handle, f"SELECT count(*) - count(DISTINCT {quote(column)}) FROM {quote(name)}")
            distinct = counts == [(0,)]
        kind = _kind(column, type_name, values)
        columns.append(
            Column(
                table=name,
                name=column,
                kind=kind,
                values=values,
                has_null=len(values) < len(cells),
                not_null=bool(not_null) or bool(in_key),
                unique=column in single,
                distinct=distinct and len(values) > 1,
                names_rows=distinct and is_name(column, name),
                format=format_of(values) if kind == "text" else None,
            )
        )
    _mark_label(columns, name)
    return Table(name, columns, rows, complete, sorted({key for key in keys if len(key) > 1}))


def _mark_label(columns: list[Column], table: str) -> None:
    """Texts that never repeat name the rows, though they are not called so."""
    texts = [column for column in columns if column.kind == "text"]
    is_free = not any(column.names_rows for column in texts)
    for number, column in enumerate(texts):
        if column.distinct and is_label(column.name, table, column.values, first=is_free and number == 0):
            column.names_rows = True


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
