"""Rows as texts that JSON can hold, cut to a stated size."""

from collections.abc import Sequence
from typing import Any

MOST_ROWS, MOST_COLUMNS, MOST_CHARACTERS = 50, 30, 200
DIGITS = 12  # of a float: what a verdict compares, without the rounding in which versions of SQLite differ
Cell = None | str | list[str]


def table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], width: int, most: int = MOST_ROWS, *, exact: bool = False
) -> dict[str, Any]:
    """`columns` and `rows` after the cut to `most` rows, `total` rows and `width` columns before it. exact: all
    columns, and each value as `cell` has it then."""
    widest = width if exact else MOST_COLUMNS
    cells = [[cell(value, exact=exact) for value in row[:widest]] for row in rows[:most]]
    names = [text(name) for name in columns[:widest]]
    return {"columns": names, "rows": cells, "total": len(rows), "width": width}


def cell(value: object, *, exact: bool = False) -> Cell:
    """None for NULL, a text as itself, anything else in a list of one, as SQL writes it: '3' is not 3. exact: nothing
    is cut and no digit is lost."""
    if value is None:
        return None
    if isinstance(value, str):
        return text(value, len(value) if exact else MOST_CHARACTERS)
    if isinstance(value, bytes):
        return [f"X'{value.hex()}'" if exact else text(f"X'{value[:MOST_CHARACTERS].hex()}'")]
    if isinstance(value, float):
        digits = repr(value) if exact else f"{value:.{DIGITS}g}"
        return [digits if any(sign in digits for sign in ".en") else f"{digits}.0"]  # e-7, nan, inf
    return [str(value)]


def text(value: str, most: int = MOST_CHARACTERS) -> str:
    """A text after the cut; bytes that are no UTF-8, which no page can hold, as U+FFFD."""
    cut = value if len(value) <= most else f"{value[: most - 1]}…"
    return cut.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def value(one: Cell) -> object:
    """The value that a cell stands for, as far as the cut left it: None, text, a number or a blob."""
    if not isinstance(one, list):
        return one
    (written,) = one
    if written.startswith("X'"):
        digits = written[2:].rstrip("'…")
        return bytes.fromhex(digits[: len(digits) // 2 * 2])
    return int(written) if written.lstrip("-").isdigit() else float(written)
