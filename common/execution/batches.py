"""The parent's side: statements of many databases, run by a pool of workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.execution.cells import MOST_ROWS
from common.sandbox import Job, Pool

TASK = "common.execution.task"  # named, not imported: it limits SQLite's memory in its process
_OPTIONAL = ("columns",)
_STOPPED = {"outcome": "timeout", "detail": "stopped for its running time"}


@dataclass(frozen=True)
class Batch:
    """A database's schema, and SQL texts that each run on it as it was.

    image: a database of a suite instead of the one that the schema makes, as `common.scoring.suites.pack` has it.
    database: a file, of which a private copy is taken. shows: whether the database's own tables are wanted too.
    """

    schema: str
    statements: Sequence[str]
    image: str = ""
    database: Path | None = None
    shows: bool = True


def execute(
    batches: Sequence[Batch], *, workers: int = 2, most_rows: int = MOST_ROWS, exact: bool = False
) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Of each batch the database's tables as they are, and what each statement returned and changed.

    A result has `tables`, each with columns, rows, total and width (`cells.table`), those of a database with their
    `name` too; one that wrote has `changes`: name, change, removed, added, stay (`task`). One that failed has `outcome`
    and `detail` instead. Tables that are not wanted are {}. most_rows: of a table that are given. exact: values
    whole, see `cells.cell`. Raises SandboxError where our machinery fails, never for anything in the texts.
    """
    jobs = [
        Job(
            {"schema": batch.schema, "image": batch.image, "most": most_rows, "exact": exact},
            [*([[]] if batch.shows else []), *([sql] for sql in batch.statements)],
            batch.database,
            optional=_OPTIONAL,
        )
        for batch in batches
    ]
    with Pool(TASK, workers=workers) as pool:
        results = pool.run(jobs)
    parts = [[_result(part) for part in answers] for answers in results]
    return [(runs[0], runs[1:]) if batch.shows else ({}, runs) for batch, runs in zip(batches, parts, strict=True)]


def _result(parts: dict[str, Any]) -> dict[str, Any]:
    stage = parts.pop("killed", "columns")
    return parts if stage == "columns" else dict(_STOPPED)
