"""The scoring task of a worker process: runs a reference and its completions, and compares where they ran.

Rows never leave the worker; what goes back is the verdict's execution half. Not imported by the parent.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from common.sandbox import database as databases
from common.sandbox.database import Database, Unloadable
from common.sandbox.statements import Failure
from common.sandbox.worker import unhurried
from common.scoring.published import published_match
from common.scoring.running import Reference, difference, first_run, parted
from common.scoring.running import run as run_statements

HELD_DATABASES = 8
HELD_BYTES = 24 * 2**20

Say = Callable[..., None]

databases.set_heap_limit()
_files: dict[str, bytes] = {}
_loaded: "OrderedDict[tuple[str, str], Database]" = OrderedDict()


def hold(key: str, content: bytes) -> None:
    """Keep a database file's bytes for the work that names it."""
    _files[key] = content


def drop(key: str) -> None:
    """Forget a file."""
    _files.pop(key, None)


def run(shared: dict[str, Any], items: list[list[str]], file: str | None, say: Say) -> None:
    """Judge completions of one reference. shared: schema, reference; items: [raw completion, its SQL].

    Parts given for each: match (True, False or None), outcome, detail, both_empty, published_match.
    """
    schema, reference_sql = shared["schema"], shared["reference"]
    say(None, "schema")
    database, reference = None, None
    try:
        database = _load("" if file else schema, file)
        say(None, "reference")
        reference = first_run(database, reference_sql)
        unscorable = None
    except Unloadable as error:
        unscorable = _parts(None, "schema_invalid", f"the schema does not load: {error}")
    except Failure as error:
        unscorable = _parts(None, error.outcome, error.detail)
    for item, (completion, sql) in enumerate(items):
        parts = unscorable
        if parts is None:
            say(item, "prediction")
            parts = _judge(reference, sql, lambda item=item: say(item, "ties"))
        say(item, "published", parts)
        matched = published_match(schema=schema, reference=reference_sql, prediction=completion, database=database)
        say(item, None, {"published_match": matched})


def _load(schema: str, file: str | None) -> Database:
    key = (schema, file or "")
    if key in _loaded:
        _loaded.move_to_end(key)
        return _loaded[key]
    database = Database(file=_files[file]) if file else Database(schema=schema)
    _loaded[key] = database
    while len(_loaded) > 1 and (len(_loaded) > HELD_DATABASES or sum(d.size for d in _loaded.values()) > HELD_BYTES):
        _loaded.popitem(last=False)[1].close()
    return database


def _judge(reference: Reference, sql: str, on_ties: Callable[[], None]) -> dict[str, Any]:
    try:
        statements = parted(sql)
        if not statements:
            return _parts(False, "empty_prediction", "no SQL statement")
        wanted = len(reference.statements)
        if len(statements) not in (1, wanted):
            raise Failure("forbidden", f"{len(statements)} statements where the reference has {wanted}")
        ran = run_statements(reference.database, statements)
    except Failure as error:
        return _parts(False, error.outcome, error.detail)
    with unhurried():
        why = difference(reference, ran, on_ties)
    if why:
        return _parts(False, "mismatch", why)
    return _parts(True, "match", "", both_empty=not any(result.rows for result in ran.results))


def _parts(match: bool | None, outcome: str, detail: str, *, both_empty: bool = False) -> dict[str, Any]:
    return {"match": match, "outcome": outcome, "detail": " ".join(detail.split())[:300], "both_empty": both_empty}
