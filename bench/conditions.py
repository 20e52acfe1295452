"""Superfluous conditions: added to a reference over one table, true of every given row, and not of all that could be.

Covers embedded references without joins, subqueries or writes, and columns that are no keys.
"""

import re
import sqlite3
from contextlib import closing

import sqlglot

from common.certify.readings.structure import Query, quoted, sql
from common.certify.readings.tables import Table, tables
from common.data import Example

_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def conditions(example: Example) -> dict[str, str]:
    """The reference with a condition more, by the condition's kind; {} where it is no plain query of one table."""
    known = tables(example.schema)
    try:
        tree = sqlglot.parse_one(example.sql, dialect="sqlite")
        query = Query(tree, known)
    except (sqlglot.ParseError, ValueError, AttributeError):
        return {}
    if len(query.sources) != 1 or sum(1 for _ in tree.find_all(sqlglot.exp.Select)) > 1:
        return {}
    (table,) = query.sources.values()
    texts: dict[str, str] = {}
    restricted = {c.name.casefold() for part in query.conjuncts for c in part.find_all(sqlglot.exp.Column)}
    for column, values in _values(example.schema, table).items():
        if column.casefold() in restricted:
            continue  # what a stricter condition implies is not wrong
        for kind, condition in _of_column(quoted(column), values).items():
            texts.setdefault(kind, query.build(where=[*query.where, condition]))
    return {kind: text for kind, text in texts.items() if text != sql(tree)}


def _values(schema: str, table: Table) -> dict[str, list]:
    """The values of the columns that are no keys and lack none."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema)
        columns = [c for c in table.columns if c != table.key and not c.endswith("id") and c not in table.parents]
        lines = {c: [v for (v,) in connection.execute(f'SELECT "{c}" FROM "{table.name}"')] for c in columns}
    return {column: values for column, values in lines.items() if values and None not in values}


def _of_column(column: str, values: list) -> dict[str, str]:
    low, high = (min(values), max(values)) if len({type(value) for value in values}) == 1 else (None, None)
    listed = ", ".join(sql(sqlglot.exp.convert(value)) for value in sorted(set(values), key=str))
    if isinstance(low, int):
        return {
            "int > min - 1": f"{column} > {low - 1}",
            "int > min / 2": f"{column} > {low // 2}" if low > 1 else f"{column} > {low - 1}",
            "int < max + 1": f"{column} < {high + 1}",
            "int >= min": f"{column} >= {low}",
            "IN (all ints)": f"{column} IN ({listed})",
        }
    if isinstance(low, float):
        return {"real >= min": f"{column} >= {low}", "real > min / 2": f"{column} > {low / 2:.2f}"}
    if isinstance(low, str) and all(_DATE.match(value) for value in values):
        return {"date >= min": f"{column} >= '{low}'"}
    if isinstance(low, str):
        return {"IN (all texts)": f"{column} IN ({listed})"}
    return {}
