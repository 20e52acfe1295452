"""Statements executed on a schema or on a copy of a file: their rows with names of columns, or why there are none."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from common.sandbox import Job, Pool

TASK = "common.execution.task"
MOST_ROWS = 50  # of a table, for a person to read
Value = None | int | float | str | bytes


@dataclass(frozen=True)
class Request:
    """A text of one or more statements, and what it runs on: a script, or a private copy of a database file."""

    sql: str
    schema: str = ""
    database: Path | None = None


@dataclass(frozen=True)
class Table:
    """Rows that a query returned, or, with a name, those of a table that a statement changed, as they are afterwards.

    count: of all its rows, of which `rows` are the first. count_before: what a changed table had; None for one that is
    new, and for a query's.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    count: int
    name: str = ""
    count_before: int | None = None


@dataclass(frozen=True)
class Execution:
    """What became of a text. outcome: "" where it came to its end, else a verdict's name for what stopped it.

    detail: one line on that, or on what is left out. writes: whether it changes the database, or would: only a private
    copy was changed.
    """

    tables: tuple[Table, ...]
    outcome: str = ""
    detail: str = ""
    writes: bool = False


def execute(requests: Sequence[Request], *, workers: int = 1, most_rows: int = MOST_ROWS) -> list[Execution]:
    """Each request's execution, in their order, under the scorer's limits of steps, memory, rows and time.

    workers: processes. most_rows: of a table that are given. Nothing that a request contains raises. Raises OSError for
    a database that cannot be read, and SandboxError where our own machinery fails.
    """
    order = sorted(range(len(requests)), key=lambda i: (str(requests[i].database or ""), requests[i].schema))
    groups = [list(group) for _, group in groupby(order, key=lambda i: (requests[i].database, requests[i].schema))]
    with Pool(TASK, workers=workers) as pool:
        results = pool.run([_job([requests[i] for i in group], most_rows) for group in groups])
    executions: list[Any] = [None] * len(requests)
    for group, parts in zip(groups, results, strict=True):
        for number, each in zip(group, parts, strict=True):
            executions[number] = _execution(each)
    return executions


def _job(requests: Sequence[Request], most_rows: int) -> Job:
    first = requests[0]
    shared = {"schema": "" if first.database else first.schema, "most_rows": most_rows}
    return Job(shared, [[request.sql] for request in requests], first.database)


def _execution(parts: dict[str, Any]) -> Execution:
    if "killed" in parts:
        return Execution((), "timeout", "stopped for its running time")
    tables = tuple(
        Table(tuple(columns), tuple(tuple(map(_value, row)) for row in rows), count, name, before)
        for name, columns, rows, count, before in parts["tables"]
    )
    return Execution(tables, parts["outcome"], parts["detail"], parts["writes"])


def _value(value: Any) -> Value:
    return bytes.fromhex(value["blob"]) if isinstance(value, dict) else value


def words(values: Iterable[Value]) -> tuple[str, ...]:
    """Values as a person reads them: NULL, numbers, text as it is, and blobs as SQL writes them."""
    return tuple(
        "NULL" if value is None else f"X'{value.hex()}'" if isinstance(value, bytes) else str(value) for value in values
    )
