"""Near misses that need the data: the reference's own result written out, sums in the place of counts, and conditions
that every given row fulfils.

They join those that `common.mutations` makes of the text alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from common.sandbox.statements import Result
from common.scoring.suites.survey import Column, Survey, is_year

if TYPE_CHECKING:
    from sqlglot import exp

MOST_WRITTEN_ROWS = 40
MOST_SUMS = 3
MOST_CONDITIONS = 3


def written_out(results: Sequence[Result]) -> list[str]:
    """SQL that gives the only result without reading any table; [] where it is long, empty or one of several."""
    if len(results) != 1 or not 0 < len(results[0].rows) <= MOST_WRITTEN_ROWS:
        return []
    return [" UNION ALL ".join(f"SELECT {', '.join(map(_literal, row))}" for row in results[0].rows)]


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if isinstance(value, str):
        quoted = value.replace("'", "''").replace("\0", "")
        return f"'{quoted}'"
    text = repr(value)
    return text if text.lstrip("-")[0].isdigit() else "9e999" if text == "inf" else "-9e999"


def sums_for_counts(statement: str, survey: Survey) -> Iterator[str]:
    """The statement, sorted by a sum of a column where it sorts by a count of rows."""
    import sqlglot
    from sqlglot import exp

    tree = sqlglot.parse_one(statement, dialect="sqlite")
    counts = [
        count
        for ordered in tree.find_all(exp.Ordered)
        for count in ordered.find_all(exp.Count)
        if isinstance(count.this, exp.Star)
    ]
    if len(counts) != 1:
        return
    aliases, columns = _measures(tree, survey)
    for column in columns[:MOST_SUMS]:
        target = exp.column(column.name, table=aliases[column.table.casefold()], quoted=True)
        counts[0].replace(total := exp.Sum(this=target))
        yield tree.sql(dialect="sqlite")
        counts = [total]


def superfluous_conditions(statement: str, survey: Survey) -> Iterator[str]:
    """The statement, with a condition more that is true of every given row: above the least given value, or half."""
    import sqlglot
    from sqlglot import exp

    tree = sqlglot.parse_one(statement, dialect="sqlite")
    if not isinstance(tree, exp.Select) or tree.args.get("from_") is None:
        return
    where = tree.args.get("where")
    names = {column.name.casefold() for column in where.find_all(exp.Column)} if where else set()
    aliases, columns = _measures(exp.Select(from_=tree.args["from_"], joins=tree.args.get("joins")), survey)
    free = [column for column in columns if column.values and column.name.casefold() not in names]
    for column in free[:MOST_CONDITIONS]:
        target = exp.column(column.name, table=aliases[column.table.casefold()], quoted=True)
        low = min(column.values)
        conditions = [exp.GTE(this=target, expression=exp.convert(low))]
        if low > 0 and not is_year(column.values):
            conditions.append(exp.GT(this=target, expression=exp.convert(low / 2)))
        for condition in conditions:
            yield tree.where(condition).sql(dialect="sqlite")


def _measures(tree: exp.Expression, survey: Survey) -> tuple[dict[str, str], list[Column]]:
    """What a statement calls its tables, and their columns of numbers that are no keys."""
    from sqlglot import exp

    aliases = {table.name.casefold(): table.alias or table.name for table in tree.find_all(exp.Table)}
    return aliases, [
        column
        for column in survey.columns()
        if column.table.casefold() in aliases and column.kind in ("integer", "real")
        if not (column.unique or column.names_rows or column.parent)
    ]
