"""Near misses that need the data: the reference's own result written out, and sums in the place of counts.

They join those that `common.mutations` makes of the text alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from common.sandbox.statements import Result
from common.scoring.suites.survey import Survey

MOST_WRITTEN_ROWS = 40
MOST_SUMS = 3


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
    aliases = {table.name.casefold(): table.alias or table.name for table in tree.find_all(exp.Table)}
    columns = [
        column
        for column in survey.columns()
        if column.table.casefold() in aliases and column.kind in ("integer", "real")
        if not (column.unique or column.names_rows or column.parent)
    ]
    for column in columns[:MOST_SUMS]:
        target = exp.column(column.name, table=aliases[column.table.casefold()], quoted=True)
        counts[0].replace(total := exp.Sum(this=target))
        yield tree.sql(dialect="sqlite")
        counts = [total]
