"""What a database holds after a statement, and whether two such databases are equal.

Compared are tables (column names case-folded, in order; affinity, NOT NULL, default, generated or not; primary,
unique and foreign keys; rows as bags), views (column names and the rows they give), indexes (name, table, columns)
and triggers (name, table, text without comments and spacing). Not compared: CHECK constraints, collations of columns,
expressions of generated columns beyond the values that they give, STRICT, WITHOUT ROWID, rowids, AUTOINCREMENT and its
counters, statistics.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from common.sandbox.connections import Handle, reading
from common.sandbox.statements import TOKEN, Room, Row, failure, fetch
from common.scoring.compare import same_bag
from common.scoring.pairing import PairingBudget

MOST_ROWS = 20_000
MOST_BYTES = 8_000_000
MOST_SHAPES = 32
# A row takes at least five bytes of an image, so one of this size has no more rows than may be read, in a tenth of the
# steps that are left then.
LARGEST_SNAPSHOT = 64 * 2**10
MOST_SNAPSHOT_TICKS = 100
_shape_cache: dict[tuple[Row, ...], dict[str, tuple[Any, ...]]] = {}


@dataclass(frozen=True)
class Table:
    """A table or view: its shape, and its rows as a bag."""

    shape: tuple[Any, ...]
    rows: list[Row]


@dataclass(frozen=True)
class State:
    """A database's content: tables and views by name, indexes and triggers by name."""

    tables: dict[str, Table]
    others: dict[str, tuple[Any, ...]]


class Snapshot:
    """A database's content as its image, for one that can be read at any time: see `snapshot_of`."""

    def __init__(self, image: bytes):
        self.image = image

    @cached_property
    def state(self) -> State:
        with reading(self.image) as handle:
            return read(handle)


def snapshot_of(handle: Handle) -> Snapshot | None:
    """The content of an open database that is simple; None where reading it now might give another answer than later.

    That is a large one, of which reading may fail, and one after a statement that took up much of its budget.
    """
    if handle.guard.ticks > MOST_SNAPSHOT_TICKS:
        return None
    handle.guard.mode = "inspect"
    image = handle.connection.serialize()
    return Snapshot(image) if len(image) <= LARGEST_SNAPSHOT else None


def difference(
    reference: State | Snapshot, prediction: State | Snapshot, budget: PairingBudget | None = None
) -> str | None:
    """The first difference, for a person; None where the databases are equal. budget: as of `compare.same_bag`."""
    if isinstance(reference, Snapshot):
        if isinstance(prediction, Snapshot) and reference.image == prediction.image:
            return None
        reference = reference.state
    if isinstance(prediction, Snapshot):
        prediction = prediction.state
    budget = budget or PairingBudget()
    for name in sorted(reference.tables.keys() | prediction.tables.keys()):
        ours, theirs = reference.tables.get(name), prediction.tables.get(name)
        if ours is None or theirs is None:
            return f"{name} {'should not be there' if ours is None else 'is missing'}"
        if ours.shape != theirs.shape:
            return f"{name} has other columns, types, defaults or keys"
        if not same_bag(ours.rows, theirs.rows, budget):
            return f"{name} holds other rows"
    for name in sorted(reference.others.keys() | prediction.others.keys()):
        if reference.others.get(name) != prediction.others.get(name):
            return f"{name} differs"
    return None


def read(handle: Handle) -> State:
    """Everything in an open database. Raises Failure where a view runs out of its budget or there is too much."""
    try:
        return _read(handle)
    except (sqlite3.Error, sqlite3.Warning, MemoryError, ValueError, OverflowError) as error:
        raise failure(error, handle) from error


def _read(handle: Handle) -> State:
    objects = _objects(handle)
    shapes = _shapes(handle, objects)
    tables, room = {}, Room(MOST_ROWS, MOST_BYTES)
    for label, schema, kind, name, _, sql in _labels(objects):
        if kind in ("table", "view"):
            content = _rows(handle, schema, kind, name, room)
            # A view over something that is not there is compared by its text.
            tables[label] = Table(normal(sql), []) if content is None else Table(shapes[label], content)
    return State(tables, {label: shape for label, shape in shapes.items() if label not in tables})


def _shapes(handle: Handle, objects: tuple[Row, ...]) -> dict[str, tuple[Any, ...]]:
    """All but the rows, which follows from the catalogue alone: most statements leave that as it was."""
    if objects not in _shape_cache:
        while len(_shape_cache) >= MOST_SHAPES:
            del _shape_cache[next(iter(_shape_cache))]
        _shape_cache[objects] = {
            label: _shape(handle, schema, kind, name, table, sql)
            for label, schema, kind, name, table, sql in _labels(objects)
        }
    return _shape_cache[objects]


def _labels(objects: tuple[Row, ...]) -> Iterator[tuple[str, str, str, str, str, str]]:
    """The objects with their labels, without SQLite's own: counters, statistics, indexes of keys."""
    for schema, kind, name, table, sql in objects:
        if not name.lower().startswith("sqlite_"):
            yield f"{kind} {'' if schema == 'main' else schema + '.'}{name.casefold()}", schema, kind, name, table, sql


def _shape(handle: Handle, schema: str, kind: str, name: str, table: str, sql: str) -> tuple[Any, ...]:
    if kind == "index":
        return (table.casefold(), *_index(handle, schema, name, sql))
    if kind == "trigger":
        return (table.casefold(), _trigger(sql))
    try:
        columns = _ask(handle, f"PRAGMA {quote(schema)}.table_xinfo({quote(name)})")
    except sqlite3.DatabaseError:
        if kind != "view":
            raise
        return ()  # it has no rows to go with it either
    if kind == "view":
        return tuple(column[1].casefold() for column in columns)
    shape = tuple(
        (name.casefold(), affinity(type_name), bool(not_null), _default(default), key, bool(hidden))
        for _, name, type_name, not_null, default, key, hidden in columns
    )
    return (shape, _unique_keys(handle, schema, name), _foreign_keys(handle, schema, name))


def _rows(handle: Handle, schema: str, kind: str, name: str, room: Room) -> list[Row] | None:
    """All rows, or None where a view does not run."""
    try:
        handle.guard.mode = "read"  # a view is foreign text
        cursor = handle.connection.execute(f"SELECT * FROM {quote(schema)}.{quote(name)}")
        return fetch(cursor, room)
    except sqlite3.DatabaseError:
        if kind != "view" or handle.guard.over_budget:
            raise
        handle.guard.refusal = ""
        return None


def normal(sql: str | None) -> tuple[str, ...]:
    """The words of a statement without comments, spacing, and the case of what is no string."""
    tokens = TOKEN.finditer(sql or "")
    return tuple(
        token.group() if token.lastgroup == "string" else token.group().lower()
        for token in tokens
        if token.lastgroup not in ("comment", "space")
    )


def _trigger(sql: str | None) -> tuple[str, ...]:
    """A trigger's words; FOR EACH ROW is left out, as there is no other kind."""
    words = normal(sql)
    for i in range(len(words) - 2):
        if words[i] == "begin":
            break
        if words[i : i + 3] == ("for", "each", "row"):
            return words[:i] + words[i + 3 :]
    return words


def _default(sql: str | None) -> tuple[str, ...]:
    """The words of a column's default, where equal ones are written alike: NULL is none, TRUE is 1, "x" is 'x'."""
    words = normal(sql)
    while len(words) > 1 and words[0] == "+" and words[1][0].isdigit():
        words = words[1:]
    if len(words) == 1 and words[0].startswith('"'):
        return ("'" + (sql or "").strip()[1:-1].replace('""', '"').replace("'", "''") + "'",)
    return {("null",): (), ("true",): ("1",), ("false",): ("0",)}.get(words, words)


def affinity(type_name: str) -> str:
    """SQLite's column affinity of a declared type (https://www.sqlite.org/datatype3.html, section 3.1)."""
    text = type_name.upper()
    if "INT" in text:
        return "INTEGER"
    if any(word in text for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in text or not text:
        return "BLOB"
    return "REAL" if any(word in text for word in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


def _objects(handle: Handle) -> tuple[Row, ...]:
    """The catalogue: (schema, type, name, table, sql) of everything."""
    return tuple(
        (schema, *row)
        for schema, master in (("main", "sqlite_master"), ("temp", "sqlite_temp_master"))
        for row in _ask(handle, f"SELECT type, name, tbl_name, sql FROM {master}")
    )


def _unique_keys(handle: Handle, schema: str, table: str) -> frozenset[tuple[tuple[str, int], ...]]:
    keys = Counter(
        frozenset((column or "").casefold() for _, _, column in _ask(handle, _about("index_info", schema, name)))
        for _, name, _, origin, _ in _ask(handle, _about("index_list", schema, table))
        if origin == "u"
    )
    return frozenset(keys.items())


def _foreign_keys(handle: Handle, schema: str, table: str) -> frozenset[tuple[Any, ...]]:
    keys: dict[int, list[Any]] = {}
    for number, _, parent, column, parent_column, on_update, on_delete, _ in _ask(
        handle, _about("foreign_key_list", schema, table)
    ):
        key = keys.setdefault(number, [parent.casefold(), on_update, on_delete, []])
        key[3].append((column.casefold(), parent_column))
    complete = []
    for parent, on_update, on_delete, pairs in keys.values():
        if any(parent_column is None for _, parent_column in pairs):  # REFERENCES parent: its primary key
            columns = _ask(handle, _about("table_info", schema, parent))
            primary = sorted((position, column) for _, column, _, _, _, position in columns if position)
            names = [column for _, column in primary] + [None] * len(pairs)
            pairs = [(column, names[i]) for i, (column, _) in enumerate(pairs)]
        complete.append((parent, on_update, on_delete, frozenset((c, (p or "").casefold()) for c, p in pairs)))
    return frozenset(Counter(complete).items())


def _index(handle: Handle, schema: str, name: str, sql: str) -> tuple[Any, ...]:
    columns = [row for row in _ask(handle, _about("index_xinfo", schema, name)) if row[5]]  # the key's own columns
    words = normal(sql)
    unique = "unique" in words[:3]
    if "where" in words or any(row[1] == -2 for row in columns):  # a partial index, or one on an expression
        return (unique, words[words.index("on") :])
    return (unique, tuple((column.casefold(), descending, order) for _, _, column, descending, order, _ in columns))


def _about(pragma: str, schema: str, name: str) -> str:
    return f"PRAGMA {quote(schema)}.{pragma}({quote(name)})"


def _ask(handle: Handle, question: str) -> list[Row]:
    """Our own question to the catalogue."""
    handle.guard.mode = "inspect"
    return handle.connection.execute(question).fetchall()


def quote(name: str) -> str:
    """A name as SQL text, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'
