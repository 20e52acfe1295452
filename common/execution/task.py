"""The task of a worker process that runs statements and gives back rows. Not imported by the parent."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

from common.execution.cells import MOST_COLUMNS, table, text
from common.execution.files import CONTENTS, drop, hold
from common.sandbox import connections
from common.sandbox.database import Database, Unloadable
from common.sandbox.statements import Failure, Result, Row
from common.sandbox.worker import allow
from common.scoring import state, suites
from common.scoring.running import SEED, Run, run_on, statements_of

__all__ = ["drop", "hold", "run"]  # what a pool calls
Say = Callable[..., None]

connections.set_heap_limit()


def run(shared: dict[str, Any], items: list[list[str]], file: str | None, say: Say) -> None:
    """Run statements on the database that `shared["schema"]` makes, on the one in `shared["image"]`, or on the file's;
    items of [SQL], or [] for its tables as they are. Of each table `shared["most"]` rows are given, `exact` or as a
    page shows them.

    Parts given for each: `tables`, what it returned, see `cells.table`; `changes` of one that wrote, see `_changes`;
    of one that did not come to its end `outcome` and `detail` alone.
    """
    say(None, "schema")
    try:
        database = Database(file=CONTENTS[file]) if file else _load(shared["schema"], shared["image"])
    except Unloadable as error:
        for item in range(len(items)):
            say(item, None, {"outcome": "schema_invalid", "detail": f"the schema does not load: {error}"})
        return
    allow(database.budget.seconds)
    given = _Given(database, {"most": shared["most"], "exact": shared["exact"]})
    try:
        for item, statement in enumerate(items):
            say(item, "statement")
            try:
                if statement:
                    parts = _run(given, statement[0], lambda parts, item=item: say(item, "columns", parts))
                else:
                    parts = {"tables": given.tables()}
            except Failure as failure:
                parts = {"outcome": failure.outcome, "detail": failure.detail}
            say(item, None, parts)
    finally:
        database.close()


def _load(schema: str, image: str) -> Database:
    database = Database(schema=schema)
    if not image:
        return database
    settings = database.settings
    database.close()
    return Database(file=suites.unpack(image), settings=settings)


class _Given:
    """The database before any statement."""

    def __init__(self, database: Database, cut: dict[str, Any]):
        self.database, self.cut = database, cut

    @cached_property
    def content(self) -> state.State:
        """Raises Failure where it cannot be read."""
        try:
            with self.database.copy() as handle:
                return state.read(handle)
        except Unloadable as error:
            raise Failure("too_large", str(error)) from error

    def tables(self) -> list[dict[str, Any]]:
        """Tables and views by name, with their rows."""
        tables = self.content.tables
        return [{"name": _name(key), **_table_of(tables[key], tables[key].rows, self.cut)} for key in sorted(tables)]


def _run(given: _Given, sql: str, on_rows: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Parts of one text. on_rows: called with them before the columns' names are read, which needs a second
    execution; where it returns False, names are left out."""
    statements = statements_of(sql)
    if not statements:
        raise Failure("empty_prediction", "no SQL statement")
    run = run_on(given.database, statements)
    returned = [table([], result.rows, result.width, **given.cut) for result in _returned(run)]
    parts: dict[str, Any] = {"tables": returned}
    if run.state is not None:
        after = run.state.state if isinstance(run.state, state.Snapshot) else run.state
        return parts | {"changes": _changes(given.content, after, given.cut)}
    if on_rows(parts):
        names = _column_names(given.database, statements, given.cut["exact"])
        parts["tables"] = [{**part, "columns": row} for part, row in zip(parts["tables"], names, strict=True)]
    return parts


def _returned(run: Run) -> list[Result]:
    """As the scorer has it: of statements that write, the results with rows."""
    return run.results if run.state is None else [result for result in run.results if result.rows]


def _column_names(database: Database, statements: Sequence[str], exact: bool) -> list[list[str]]:
    handle = database.reader
    handle.guard.begin("read", seed=SEED)
    names = []
    for statement in statements:
        cursor = handle.connection.execute(statement)
        names.append([text(column[0]) for column in cursor.description[: None if exact else MOST_COLUMNS]])
        cursor.close()
    return names


def _changes(before: state.State, after: state.State, cut: dict[str, Any]) -> list[dict[str, Any]]:
    """What became of each object, by name: `name` and `change` (new, gone, changed, or rows: its rows alone). Of a
    table or view also the rows `removed` and `added`, each as `cells.table`, and how many `stay`."""
    changes = []
    for key in sorted(before.tables.keys() | after.tables.keys()):
        old, new = before.tables.get(key), after.tables.get(key)
        olds, news = (Counter(map(tuple, each.rows)) if each else Counter() for each in (old, new))
        is_reshaped = old and new and old.shape != new.shape
        if old and new and olds == news and not is_reshaped:
            continue
        changes.append(
            {
                "name": _name(key),
                "change": "changed" if is_reshaped else _change(old, new),
                "removed": _table_of(old or new, (olds - news).elements(), cut),
                "added": _table_of(new or old, (news - olds).elements(), cut),
                "stay": (olds & news).total(),
            }
        )
    for key in sorted(before.others.keys() | after.others.keys()):
        old, new = before.others.get(key), after.others.get(key)
        if old != new:
            change = _change(old, new)
            changes.append({"name": key, "change": "changed" if change == "rows" else change})
    return changes


def _change(old: object, new: object) -> str:
    return "new" if old is None else "gone" if new is None else "rows"


def _name(key: str) -> str:
    """A table by its name alone, a view as such."""
    return key.removeprefix("table ")


def _table_of(content: state.Table, rows: Iterable[Row], cut: dict[str, Any]) -> dict[str, Any]:
    """Some rows of a table or a view; a view that does not run has no columns."""
    shape, rows = content.shape, list(rows)
    if shape and isinstance(shape[0], tuple):
        names = [column[0] for column in shape[0]]
    else:
        names = list(shape) if rows else []
    return table(names, rows, len(names), **cut)
