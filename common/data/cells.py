"""Cells as text, the same from every source: what is taken, and the words for what is not.

A cell that is no text is never turned into one: a list in the place of a query would be trained on as `['SELECT …']`.
"""

import math
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal

from common.data.example import Example

COLUMNS = ("sql_prompt", "sql_context", "sql")
OPTIONAL = ("id", "domain", "sql_complexity", "sql_task_type", "split")

_KINDS = {
    bool: "true or false",
    int | float | Decimal: "a number",
    list: "a list",
    dict | tuple: "an object",
    date | time | timedelta: "a time",
    type(None): "null",
    str: "text",
}


class CellError(ValueError):
    """A cell that cannot be used; the text names its column: `an empty sql`, `a list as sql`."""

    def __init__(self, message: str, advice: str):
        super().__init__(message)
        self.advice = advice


def texts(row: Mapping[str, object]) -> dict[str, str]:
    """The row's columns that an example has, as text; an optional one that is absent or empty is "".

    Raises CellError for a required cell that is absent, empty or blank, and for any that is no text. Whole numbers are
    text in optional columns alone, where ids and classes are often numbers.
    """
    values = {column: _text(row.get(column), column) for column in (*COLUMNS, *OPTIONAL)}
    for column in COLUMNS:
        if not values[column].strip():
            raise empty(column)
    return values


def empty(column: str) -> CellError:
    """The error for a cell that has to be filled."""
    hint = "; '--' stands for a question without tables" if column == "sql_context" else ""
    return CellError(f"an empty {column}", f"fill or drop it{hint}")


def example(values: Mapping[str, str], id: str) -> Example:
    """The example of a row's `texts`."""
    return Example(
        id=id,
        question=values["sql_prompt"],
        schema=values["sql_context"],
        sql=values["sql"],
        domain=values["domain"],
        complexity=values["sql_complexity"],
        task_type=values["sql_task_type"],
    )


def kind(value: object) -> str:
    """What a value is called where text was wanted: `a list`."""
    return next((name for types, name in _KINDS.items() if isinstance(value, types)), f"a {type(value).__name__}")


def _text(value: object, column: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bytes):  # how some writers of Parquet keep text
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise CellError(f"bytes that are no UTF-8 as {column}", "write it as UTF-8 text") from None
    if isinstance(value, int) and not isinstance(value, bool) and column in OPTIONAL:
        return str(value)
    if not isinstance(value, str):
        raise CellError(f"{kind(value)} as {column}", "write it as text")
    if "\0" in value:
        raise CellError(f"a NUL character in {column}", "take it out")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CellError(f"half a character (a lone surrogate) in {column}", "write the whole one") from None
    return value
