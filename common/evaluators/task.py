"""The task of a worker process: runs a reference and its answers, and compares their rows as `results` has it.

Runs in the sandbox; rows never leave it. Not imported by the parent.
"""

from collections.abc import Callable
from typing import Any

from common.evaluators.results import is_same_bag, is_same_set, relation
from common.evaluators.texts import order_of
from common.execution.files import CONTENTS, drop, hold
from common.sandbox import connections
from common.sandbox.database import Database, Unloadable
from common.sandbox.statements import Failure
from common.sandbox.worker import allow, free_time
from common.scoring.running import Run, first_run, run_on, statements_of

__all__ = ["drop", "hold", "run"]  # what a pool calls
Say = Callable[..., None]

connections.set_heap_limit()


def run(shared: dict[str, Any], items: list[Any], file: str | None, say: Say) -> None:
    """Compare answers with one reference, items of [SQL].

    shared: schema, reference. Parts given for each: relation, a letter of `results.RELATIONS`; of an answer that reads
    as its reference does also set and bag. Where something fails, `detail` says what.
    """
    say(None, "schema")
    try:
        database = Database(file=CONTENTS[file]) if file else Database(schema=shared["schema"])
    except Unloadable as error:
        for item in range(len(items)):
            say(item, None, {"relation": "?", "detail": str(error)[:300]})
        return
    try:
        allow(database.budget.seconds)
        say(None, "reference")
        target, why = None, ""
        try:
            target = first_run(database, shared["reference"]).run
        except Failure as failure:
            why = failure.detail
        in_order = order_of(shared["reference"]) != "-"
        for item, (sql,) in enumerate(items):
            if target is None:
                say(item, None, {"relation": "?", "detail": why[:300]})
                continue
            say(item, "prediction")
            try:
                ours = run_on(database, statements_of(sql))
                with free_time():
                    parts = _compare(ours, target, in_order)
            except Failure as failure:
                parts = {"relation": "!", "detail": failure.detail[:300]}
            say(item, None, parts)
    finally:
        database.close()


def _compare(ours: Run, target: Run, in_order: bool) -> dict[str, Any]:
    """Results of several statements are compared one by one; the first that differs gives the relation."""
    if ours.state is not None or target.state is not None:
        return {"relation": "w"}
    if len(ours.results) != len(target.results):
        return {"relation": "x", "set": False, "bag": False}
    pairs = list(zip(ours.results, target.results, strict=True))
    rows = [(one.rows, other.rows) for one, other in pairs]
    return {
        "relation": next((letter for pair in pairs if (letter := relation(*pair)) != "="), "="),
        "set": all(is_same_set(*pair) for pair in rows),
        "bag": all(is_same_bag(*pair, in_order=in_order) for pair in rows),
    }
