"""The scoring task of a worker process: runs a reference and its completions, and compares where they ran.

Rows never leave the worker; what goes back is the verdict's execution half. Not imported by the parent.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from common.sandbox import database as databases
from common.sandbox.database import Database, Unloadable
from common.sandbox.statements import Failure, Result, check, execute, run_reading, split
from common.sandbox.worker import unhurried
from common.scoring import ordering, state
from common.scoring.compare import same_bag, same_sequence
from common.scoring.published import published_match

HELD_DATABASES = 8
MOST_ROWS_EXPLAINED = 200
SEED = 1
OTHER_SEEDS = range(2, 10)  # several, since a choice among few rows may fall out the same twice
HELD_BYTES = 24 * 2**20

Say = Callable[..., None]

databases.set_heap_limit()
_files: dict[str, bytes] = {}
_loaded: "OrderedDict[tuple[str, str], Database]" = OrderedDict()


@dataclass(frozen=True)
class Run:
    """What a text's statements did: the results of those that return columns, and the database if any wrote."""

    results: list[Result]
    state: state.State | None
    used_random: bool


@dataclass
class Reference:
    """A reference that ran, and what its result allows."""

    statements: list[str]
    run: Run
    database: Database
    _blocks: list[ordering.Block] | None = field(default=None, repr=False)
    _looked: bool = False

    def blocks(self) -> list[ordering.Block] | None:
        """Orders of its rows that are as good as its own; None where only its own is."""
        if not self._looked:
            self._looked = True
            self._blocks = ordering.blocks_of(self.statements[0], self.run.results[0], self.database.reader, seed=SEED)
        return self._blocks


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
        reference = _reference(database, reference_sql)
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


def _reference(database: Database, sql: str) -> Reference:
    """Run the reference. Raises Failure with outcome reference_error or reference_nondeterministic."""
    try:
        check(sql)
        statements = split(sql)
        if not statements:
            raise Failure("reference_error", "no statement")
        first = _run(database, statements, seed=SEED)
        reference = Reference(statements, first, database)
        # With the clock frozen nothing but random() can change a result; other seeds show whether it does.
        for seed in OTHER_SEEDS if first.used_random else ():
            if _difference(reference, _run(database, statements, seed=seed), lambda: None):
                raise Failure("reference_nondeterministic", "the result depends on random()")
    except Failure as error:
        if error.outcome == "reference_nondeterministic":
            raise
        raise Failure("reference_error", f"the reference fails: {error.detail}") from error
    return reference


def _judge(reference: Reference, sql: str, on_ties: Callable[[], None]) -> dict[str, Any]:
    try:
        check(sql)
        statements = split(sql)
        if not statements:
            return _parts(False, "empty_prediction", "no SQL statement")
        wanted = len(reference.statements)
        if len(statements) not in (1, wanted):
            raise Failure("forbidden", f"{len(statements)} statements where the reference has {wanted}")
        ran = _run(reference.database, statements, seed=SEED)
    except Failure as error:
        return _parts(False, error.outcome, error.detail)
    with unhurried():
        why = _difference(reference, ran, on_ties)
    if why:
        return _parts(False, "mismatch", why)
    return _parts(True, "match", "", both_empty=not any(result.rows for result in ran.results))


def _run(database: Database, statements: list[str], *, seed: int) -> Run:
    """Run statements on the shared connection where they only read, else on a copy of their own. Raises Failure."""
    results = run_reading(database, statements, seed=seed)
    if results is not None:
        return Run(results, None, database.reader.guard.used_random)
    with database.copy() as opened:
        opened.guard.begin("write", seed=seed)
        found = [execute(opened, statement) for statement in statements]
        used_random = opened.guard.used_random
        return Run([result for result in found if result is not None], state.read(opened), used_random)


def _difference(reference: Reference, ran: Run, on_ties: Callable[[], None]) -> str | None:
    """Why a run does not match the reference, in one line, or None where it does."""
    expected = reference.run
    if (expected.state is None) != (ran.state is None):
        return "it writes, the reference reads" if expected.state is None else "it reads, the reference writes"
    if len(ran.results) != len(expected.results):
        return f"{len(ran.results)} results, the reference has {len(expected.results)}"
    single = len(expected.results) == len(reference.statements) == 1
    for ours, theirs, statement in zip(ran.results, expected.results, _returning(reference), strict=True):
        if ours.width != theirs.width:
            return f"{ours.width} columns, the reference has {theirs.width}"
        if len(ours.rows) != len(theirs.rows):
            return f"{len(ours.rows)} rows, the reference has {len(theirs.rows)}"
        if same_sequence(ours.rows, theirs.rows):
            continue
        ordered = expected.state is None and ordering.has_outer(statement, "order")
        if not (ordered and ordering.has_outer(statement, "limit")) and not same_bag(ours.rows, theirs.rows):
            return _other_values(ours, theirs)
        if ordered:
            on_ties()
            blocks = reference.blocks() if single else None
            if blocks is None or not ordering.allows(blocks, ours.rows):
                return "rows in an order, or a choice of rows, that the reference's ORDER BY does not allow"
    return state.difference(expected.state, ran.state) if expected.state and ran.state else None


def _returning(reference: Reference) -> list[str]:
    """The statement behind each result; with statements that return nothing among them, no order is asked for."""
    if len(reference.statements) == len(reference.run.results):
        return reference.statements
    return [""] * len(reference.run.results)


def _other_values(ours: Result, theirs: Result) -> str:
    """What differs between two results of one size whose rows are no equal bags."""
    if len(ours.rows) > MOST_ROWS_EXPLAINED:
        return "other values"
    for i in range(ours.width):
        if not same_bag([(row[i],) for row in ours.rows], [(row[i],) for row in theirs.rows]):
            return f"other values in column {i + 1}"
    return "the same values in each column, in other rows"


def _parts(match: bool | None, outcome: str, detail: str, *, both_empty: bool = False) -> dict[str, Any]:
    return {"match": match, "outcome": outcome, "detail": " ".join(detail.split())[:300], "both_empty": both_empty}
