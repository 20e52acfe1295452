"""Small contexts out of real databases: 3 to 8 rows a table, drawn along the keys, as statements that make them.

A pure function of the database, the reference and the seed. A table's rows are those that its drawn children name, and
others by chance; in the second draw some that hold a constant of the reference, so that more references find a row.
Only tables that the reference names, and their parents.
"""

import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

from common.certify.readings.structure import quoted
from common.certify.readings.tables import Table, tables
from common.data import Example
from common.sandbox.statements import TOKEN

FEWEST, MOST = 3, 8
LARGEST = 20_000  # rows of a table that are looked at
_CREATE = re.compile(r"CREATE\s+TABLE\s.*?\);?(?=\s*CREATE\s|\s*$)", re.IGNORECASE | re.DOTALL)


def context(example: Example, seed: int, *, telling: bool) -> Example | None:
    """The row with a small context for its database; None where it names no table. telling: draw constants' rows."""
    known = tables(example.schema)
    names = _names(example.sql, known)
    if not names or example.database is None:
        return None
    rows = {name: _rows(example.database, known[name]) for name in names}
    constants = _constants(example.sql) if telling else set()
    some = _draw(known, names, rows, constants, Random(f"{seed}/{example.id}"))
    return replace(example, schema=_text(example.schema, known, some), database=None)


def _names(sql: str, known: Mapping[str, Table]) -> list[str]:
    """The tables that a text names, and all their parents, children first."""
    words = [t.group().strip('"`[]').casefold() for t in TOKEN.finditer(sql) if t.lastgroup in ("word", "name")]
    names = list(dict.fromkeys(word for word in words if word in known))
    for name in names:  # grows meanwhile
        parents = dict.fromkeys(parent for parent, _ in known[name].parents.values())
        names += [parent for parent in parents if parent in known and parent not in names]
    order: list[str] = []
    while len(order) < len(names):
        rest = [name for name in names if name not in order]
        free = [n for n in rest if not any(n == p and o != n for o in rest for p, _ in known[o].parents.values())]
        order.append((free or rest)[0])
    return order


def _rows(path: Path, table: Table) -> list[tuple]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        columns = ", ".join(f'"{name}"' for name in table.columns)
        return connection.execute(f'SELECT {columns} FROM "{table.name}" LIMIT {LARGEST}').fetchall()


def _constants(sql: str) -> set[str]:
    texts = [t.group() for t in TOKEN.finditer(sql) if t.lastgroup in ("string", "name", "number")]
    return {text.strip("'\"%").casefold() for text in texts} - {"", "1"}


def _draw(
    known: Mapping[str, Table],
    names: Sequence[str],
    rows: Mapping[str, list[tuple]],
    constants: set[str],
    random: Random,
) -> dict[str, list[tuple]]:
    some: dict[str, list[tuple]] = {}
    for name in names:
        table, everything = known[name], rows[name]
        size = random.randint(FEWEST, MOST)
        needs = [
            (list(table.columns).index(key), {row[list(known[child].columns).index(column)] for row in some[child]})
            for child in some
            for column, (parent, key) in known[child].parents.items()
            if parent == name and key in table.columns
        ]
        wanted = [row for row in everything if any(row[place] in values for place, values in needs)][:MOST]
        telling = [row for row in everything if any(str(value).casefold() in constants for value in row)]
        pool = random.sample(telling, min(len(telling), size // 2)) + random.sample(
            everything, min(len(everything), size)
        )
        rest = [row for row in dict.fromkeys(pool) if row not in wanted]
        chosen = wanted + rest[: max(size - len(wanted), 1 if len(wanted) < MOST else 0)]
        order = {row: place for place, row in enumerate(everything)}
        some[name] = sorted(chosen, key=lambda row, order=order: order[row])
    return some


def _text(schema: str, known: Mapping[str, Table], some: Mapping[str, list[tuple]]) -> str:
    statements = []
    for statement in _CREATE.findall(schema):
        name = next(iter(tables(statement)), "")
        if name in some:
            statements.append(statement.strip().rstrip(";") + ";")
            if some[name]:
                lines = ", ".join(f"({', '.join(map(_literal, row))})" for row in some[name])
                statements.append(f"INSERT INTO {quoted(known[name].name)} VALUES {lines};")
    return " ".join(statements)


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
