"""The scoring task of a worker process: runs a reference and its completions, and compares where they ran.

Rows never leave the worker; what goes back is the verdict's execution half. Not imported by the parent.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from common.sandbox import connections
from common.sandbox.database import Database, Unloadable
from common.sandbox.statements import Failure
from common.sandbox.worker import allow, free_time, privileges, renew
from common.scoring import STRICT_ONLY, suites
from common.scoring.published import Judgement, PublishedMetric
from common.scoring.running import Reference, difference, first_run, run_on, statements_of

MOST_DATABASES = 8
MOST_BYTES = 24 * 2**20
KILL_PARTS = {"robust_match": False, "detail": "stopped for its running time on a generated database"}

Say = Callable[..., None]

connections.set_heap_limit()
_files: dict[str, bytes] = {}
_cache: "OrderedDict[tuple[str, str], Database]" = OrderedDict()
_cache_bytes = 0  # of all images in it


def hold(key: str, content: bytes) -> None:
    """Keep a database file's bytes for the work that names it."""
    _files[key] = content


def drop(key: str) -> None:
    """Forget a file."""
    _files.pop(key, None)


def run(shared: dict[str, Any], items: list[list[str]], file: str | None, say: Say) -> None:
    """Judge completions of one reference, items of [raw completion, its SQL].

    shared: schema, reference; `suite` for a robust match too; `published`: False leaves that out. Parts given for each:
    match (True, False or None), outcome, detail, both_empty, published_match, and robust_match where there is a suite
    and `match` is True. With `make`, the arguments of a suite, that suite (or why it `failed`) is the one item's part.
    """
    schema, reference_sql = shared["schema"], shared["reference"]
    say(None, "schema")
    database, reference, unscorable = None, None, None
    try:
        database = _load("" if file else schema, file)
        allow(database.budget.seconds)
        say(None, "reference")
        reference = first_run(database, reference_sql)
    except Unloadable as error:
        unscorable = _parts(None, "schema_invalid", f"the schema does not load: {error}")
    except Failure as error:
        unscorable = _parts(None, error.outcome, error.detail)
    if "make" in shared:
        say(0, "suite")
        say(0, None, _make_suite(reference, shared["make"]))
        return
    judgements: dict[str, Judgement] = {}  # what is the same SQL is the same but for the published metric
    others = _Suite(reference, shared.get("suite", ()))
    metric = PublishedMetric(schema, reference_sql, database)
    try:
        for item, (completion, sql) in enumerate(items):
            judgement = judgements.get(sql)
            if judgement is None and unscorable is None:
                say(item, "prediction")
                judgement = judgements[sql] = _judge(reference, sql, lambda item=item: say(item, "ties"))
                if judgement.parts["match"] and "suite" in shared:
                    # Left out where the worker died there; other completions of the same SQL share that.
                    judgement.parts |= _judge_on_all(others, sql) if say(item, "robust") else KILL_PARTS
            parts = unscorable or judgement.parts
            if not shared.get("published", True):
                say(item, None, parts)
                continue
            published_match = metric.from_strict_match(reference, completion, judgement) if judgement else None
            if published_match is None and say(item, "published", parts):
                published_match = metric.match(completion)
            say(item, None, parts if published_match is None else parts | {"published_match": published_match})
    finally:
        metric.close()
        others.close()


def _make_suite(reference: Reference | None, arguments: dict[str, Any]) -> dict[str, Any]:
    """`suite`: its images as texts for JSON, none for a reference that cannot be scored; or why it `failed`."""
    if reference is None:
        return {"suite": []}
    with privileges():
        from common.scoring.suites.building import build

    try:
        return {"suite": suites.pack(build(reference, **arguments, renew=renew))}
    except Exception as error:  # odd data may defeat what makes more of its kind; the given database still judges
        return {"failed": f"{type(error).__name__}: {error}"[:300]}


class _Suite:
    """The reference on each database of a suite, made when first asked for; None where it does not run there."""

    def __init__(self, reference: Reference | None, suite: Sequence[str]):
        self._reference, self._suite = reference, suite
        self._others: list[Reference | None] = []

    def __iter__(self) -> Iterator[Reference | None]:
        yield from self._others
        given = self._reference
        for text in self._suite[len(self._others) :]:
            database = Database(file=suites.unpack(text), settings=given.database.settings)
            try:
                self._others.append(Reference(given.statements, run_on(database, given.statements), database))
            except Failure:
                database.close()
                self._others.append(None)
            yield self._others[-1]

    def close(self) -> None:
        """Close what was made."""
        for other in filter(None, self._others):
            other.database.close()


def _judge_on_all(others: _Suite, sql: str) -> dict[str, Any]:
    """robust_match, and the first database that says no; where there is none at all, that."""
    number = 0
    for number, other in enumerate(others, start=1):
        renew()
        if other is None:
            continue
        parts = _judge(other, sql, renew).parts
        if not parts["match"]:
            why = parts["detail"] or parts["outcome"]
            return {"robust_match": False, "detail": f"on generated database {number}: {why}"}
    return {"robust_match": True} if number else {"robust_match": True, "detail": STRICT_ONLY}


def _load(schema: str, file: str | None) -> Database:
    global _cache_bytes
    key = (schema, file or "")
    if key in _cache:
        _cache.move_to_end(key)
        return _cache[key]
    if file:
        _make_room(MOST_BYTES - len(_files[file]))  # before it is loaded: SQLite's heap has to hold both
    database = Database(schema=schema, file=_files[file] if file else None, renew=renew)
    _make_room(MOST_BYTES - database.size)
    _cache[key] = database
    _cache_bytes += database.size
    return database


def _make_room(size: int) -> None:
    """Close the oldest databases until one of them fewer than there may be are left, of that size together."""
    global _cache_bytes
    while _cache and (len(_cache) >= MOST_DATABASES or _cache_bytes > size):
        oldest = _cache.popitem(last=False)[1]
        _cache_bytes -= oldest.size
        oldest.close()


def _judge(reference: Reference, sql: str, on_ties: Callable[[], None]) -> Judgement:
    statements: list[str] = []
    try:
        statements = statements_of(sql)
        if not statements:
            return Judgement(_parts(False, "empty_prediction", "no SQL statement"), statements)
        count = len(reference.statements)
        if len(statements) not in (1, count):
            raise Failure("forbidden", f"{len(statements)} statements where the reference has {count}")
        # The reference's own text has run, and gives the same again: else it were not scorable.
        same = statements == reference.statements
        run = reference.run if same else run_on(reference.database, statements)
    except Failure as error:
        return Judgement(_parts(False, error.outcome, error.detail), statements)
    why = None
    if not same:
        with free_time():
            why = difference(reference, run, on_ties, explains=True)
    if why:
        return Judgement(_parts(False, "mismatch", why), statements, run)
    return Judgement(
        _parts(True, "match", "", both_empty=not any(result.rows for result in run.results)), statements, run
    )


def _parts(match: bool | None, outcome: str, detail: str, *, both_empty: bool = False) -> dict[str, Any]:
    return {"match": match, "outcome": outcome, "detail": " ".join(detail.split())[:300], "both_empty": both_empty}
