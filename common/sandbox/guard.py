"""What a statement may do, and how far it may go: authorizer, step budget, and the notes a verdict needs.

The authorizer is an allow-list. It also decides what counts as writing: a statement writes when its preparation asks
for a write action, whatever its first word is.
"""

import random
import sqlite3
from dataclasses import dataclass, field

STEPS_BETWEEN_TICKS = 10_000
# A database of so many bytes has the ordinary budget, a larger one as many times that as it is larger, to MOST_TIMES:
# such a statement takes half a second.
ORDINARY_BYTES = 64 * 2**10
MOST_TIMES = 6.0
MOST_TIMES_THE_SECONDS = 2.5

_MASTER = {"sqlite_master", "sqlite_temp_master", "sqlite_schema", "sqlite_temp_schema"}
_CATALOGUES = {"sqlite_stmt", "dbstat", "sqlite_dbpage", "bytecode", "tables_used"}
_FUNCTIONS = {"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"}
_SUSPECT = _CATALOGUES | _FUNCTIONS
_SCHEMA_PRAGMAS = {
    "foreign_keys",
    "defer_foreign_keys",
    "encoding",
    "user_version",
    "application_id",
    "recursive_triggers",
}
# Settings of the whole process: a row that changed one would reach the rows after it.
_PROCESS_PRAGMAS = {"hard_heap_limit", "soft_heap_limit", "temp_store_directory", "data_store_directory", "threads"}

_READ = sqlite3.SQLITE_READ
_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_WRITES = {
    getattr(sqlite3, f"SQLITE_{name}"): name.replace("_", " ")
    for name in (
        *("INSERT", "UPDATE", "DELETE", "ALTER_TABLE", "REINDEX", "CREATE_VTABLE", "DROP_VTABLE"),
        *(f"{verb}_{kind}" for verb in ("CREATE", "DROP") for kind in ("TABLE", "INDEX", "VIEW", "TRIGGER")),
        *(f"{verb}_TEMP_{kind}" for verb in ("CREATE", "DROP") for kind in ("TABLE", "INDEX", "VIEW", "TRIGGER")),
    )
}
_TRANSACTIONS = {sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT}
_NAMES = {
    sqlite3.SQLITE_TRANSACTION: "a transaction",
    sqlite3.SQLITE_SAVEPOINT: "a savepoint",
    sqlite3.SQLITE_ATTACH: "ATTACH or VACUUM",
    sqlite3.SQLITE_DETACH: "DETACH",
    sqlite3.SQLITE_PRAGMA: "PRAGMA",
    sqlite3.SQLITE_ANALYZE: "ANALYZE",
}


@dataclass(frozen=True)
class RunBudget:
    """What a statement may use. calls: into our own SQL functions (dates, random numbers), each worth many steps.

    seconds: of CPU for a stage of work. Steps and calls decide, alike on every machine: they come to at most a third
    of the seconds, which only end what burns them inside one step.
    """

    steps: int = 2_000_000
    calls: int = 40_000
    seconds: float = 0.5


ORDINARY = RunBudget()


def budget_of(size: int) -> RunBudget:
    """The budget on a database of so many bytes: where there are more rows, statements have more to do."""
    if size <= ORDINARY_BYTES:
        return ORDINARY
    times = min(size / ORDINARY_BYTES, MOST_TIMES)
    seconds = ORDINARY.seconds * min(times, MOST_TIMES_THE_SECONDS)
    return RunBudget(int(ORDINARY.steps * times), int(ORDINARY.calls * times), seconds)


@dataclass
class Guard:
    """Authorizer, step counter and random numbers of one connection.

    mode: `read` (a query), `write` (any one statement on a private copy), `schema` (the script that makes the
    database), `inspect` (our own questions to the catalogue), `published` (everything that stays in memory).
    """

    mode: str = "read"
    refusal: str = ""  # what was refused, for a person
    wants_write: bool = False  # a write action was seen (and refused in mode `read`)
    over_budget: bool = False
    uses_random: bool = False
    seed: int = 0
    ticks: int = 0
    calls: int = 0
    budget: RunBudget = ORDINARY
    volatile: bool = False  # asked for what another connection may answer otherwise: clock, random numbers, counters
    _alters: bool = False
    _random: random.Random | None = field(default=None, repr=False)

    def begin(self, mode: str, *, seed: int = 0) -> None:
        """Forget the last statement; a new budget and new random numbers."""
        self.mode, self.seed = mode, seed
        self.refusal, self.wants_write, self.over_budget, self.uses_random = "", False, False, False
        self.ticks, self.calls, self.volatile, self._random, self._alters = 0, 0, False, None, False

    def attach(self, connection: sqlite3.Connection) -> None:
        """Watch over every statement of this connection from now on."""
        connection.set_authorizer(self.authorize)
        connection.set_progress_handler(self.tick, STEPS_BETWEEN_TICKS)

    def tick(self) -> bool:
        """Called by SQLite every 10,000 steps; true ends the statement."""
        self.ticks += 1
        self.over_budget |= self.ticks >= self.budget.steps // STEPS_BETWEEN_TICKS
        return self.over_budget

    def count_call(self, weight: int = 1) -> None:
        """Called by our own SQL functions, whose time the step budget does not see."""
        self.calls += weight
        self.volatile = True
        if self.calls > self.budget.calls:
            self.over_budget = True
            raise RuntimeError("call budget")

    def random(self) -> random.Random:
        """Random numbers that start anew from the seed for each run."""
        self.uses_random = True
        if self._random is None:
            self._random = random.Random(self.seed)
        return self._random

    def authorize(
        self, action: int, first: str | None, second: str | None, database: str | None, source: str | None
    ) -> int:
        """SQLite's authorizer callback."""
        if action in _READS:
            name = first if action == _READ else second
            return self._reading(action, first, second) if name and name.lower() in _SUSPECT else 0  # SQLITE_OK
        if action in _WRITES:
            return self._writing(action, first, second)
        if self._other(action, first):
            return sqlite3.SQLITE_OK
        return self._deny(_NAMES.get(action, f"action {action}"))

    def _reading(self, action: int, first: str | None, second: str | None) -> int:
        if action == sqlite3.SQLITE_READ and (first or "").lower() in _CATALOGUES and self.mode != "published":
            return self._deny(f"reading {first}")
        if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FUNCTIONS:
            return self._deny(f"{second}()")
        return sqlite3.SQLITE_OK

    def _writing(self, action: int, first: str | None, second: str | None) -> int:
        # Preparing the first json_each() of a connection asks to update the catalogue and never does.
        if action == sqlite3.SQLITE_UPDATE and first in _MASTER:
            return sqlite3.SQLITE_OK
        # Modules (full text, R-trees) keep tables of their own and trust what is in them; no question needs one.
        if action == sqlite3.SQLITE_CREATE_VTABLE and self.mode != "published":
            return self._deny(f"a virtual table of {second}")
        self.wants_write = True
        self._alters |= action == sqlite3.SQLITE_ALTER_TABLE
        if self.mode == "read":
            return sqlite3.SQLITE_DENY  # not forbidden: the statement is run again on a private copy
        if self.mode == "inspect":
            return self._deny(_WRITES[action])
        return sqlite3.SQLITE_OK

    def _other(self, action: int, first: str | None) -> bool:
        name = (first or "").lower()
        if self.mode == "inspect":
            return action == sqlite3.SQLITE_PRAGMA
        if action == sqlite3.SQLITE_PRAGMA and name == "quick_check" and self._alters:
            return True  # ALTER TABLE ... ADD COLUMN ... CHECK asks so by itself; it only reads
        if self.mode == "schema":
            if action == sqlite3.SQLITE_PRAGMA:
                return name in _SCHEMA_PRAGMAS
            return action in _TRANSACTIONS or action == sqlite3.SQLITE_ANALYZE
        if self.mode == "published":
            if action == sqlite3.SQLITE_ATTACH:  # '' is VACUUM's own; any other name, or one not literal, is a file
                return first in (":memory:", "")
            if action == sqlite3.SQLITE_PRAGMA:
                return name not in _PROCESS_PRAGMAS
            return True
        return False

    def _deny(self, what: str) -> int:
        self.refusal = self.refusal or what
        return sqlite3.SQLITE_DENY
