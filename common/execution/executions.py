"""What became of statements on one database file, as values rather than texts: their rows, changes, or the reason."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.execution.batches import Batch, execute
from common.execution.cells import MOST_ROWS, value

Value = None | int | float | str | bytes


@dataclass(frozen=True)
class Table:
    """Rows under their columns. count: of all rows, of which `rows` are the first."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    count: int


@dataclass(frozen=True)
class Change:
    """What a statement did to a table, a view or another object. kind: new, gone, changed (in its columns), or rows.
    removed and added: rows of a table, None for what has none; stay: how many rows it has as before."""

    name: str
    kind: str
    removed: Table | None = None
    added: Table | None = None
    stay: int = 0


@dataclass(frozen=True)
class Execution:
    """What became of a text.

    tables: what its statements returned. outcome: "" where it came to its end, else a verdict's name for what stopped
    it, of which `detail` is one line. writes: whether it changes the database, or would: only a private copy was
    changed, in `changes`.
    """

    tables: tuple[Table, ...]
    outcome: str = ""
    detail: str = ""
    writes: bool = False
    changes: tuple[Change, ...] = ()


def execute_one(database: Path, texts: Sequence[str], *, most_rows: int = MOST_ROWS) -> list[Execution]:
    """Each text's execution on a private copy of a file, in their order, under the scorer's limits.

    Raises OSError for a file that cannot be read, SandboxError where our own machinery fails; nothing that a text
    contains raises.
    """
    ((_, results),) = execute(
        [Batch("", texts, database=database, shows=False)], workers=1, most_rows=most_rows, exact=True
    )
    return [_execution(parts) for parts in results]


def _execution(parts: dict[str, Any]) -> Execution:
    if "outcome" in parts:
        return Execution((), parts["outcome"], " ".join(parts["detail"].split())[:300])
    changes = tuple(map(_change, parts.get("changes", ())))
    return Execution(tuple(map(_table, parts["tables"])), writes="changes" in parts, changes=changes)


def _change(parts: dict[str, Any]) -> Change:
    if "stay" not in parts:
        return Change(parts["name"], parts["change"])
    removed, added = _table(parts["removed"]), _table(parts["added"])
    return Change(parts["name"], parts["change"], removed, added, parts["stay"])


def _table(parts: dict[str, Any]) -> Table:
    rows = tuple(tuple(map(value, row)) for row in parts["rows"])
    columns = parts["columns"] or [f"column {place + 1}" for place in range(len(rows[0]) if rows else 0)]
    return Table(tuple(columns), rows, parts["total"])


def words(values: Iterable[Value]) -> tuple[str, ...]:
    """Values as a person reads them: NULL, numbers, text as it is, and blobs as SQL writes them."""
    return tuple(
        "NULL" if value is None else f"X'{value.hex()}'" if isinstance(value, bytes) else str(value) for value in values
    )
