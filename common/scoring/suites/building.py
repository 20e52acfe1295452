"""Making a suite: candidates from each mode, those that can be relied on, and of these the ones that part most.

Runs in the worker, on a reference that ran on its own database. Everything is bounded by counts and steps.
"""

import random
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache

from common.mutations.neighbours import neighbours
from common.sandbox.database import Database, Open, Unloadable, blank
from common.sandbox.statements import Failure
from common.sandbox.worker import trusted
from common.scoring.running import Reference, difference, parted, run
from common.scoring.state import quoted
from common.scoring.suites import mentions as mentioned
from common.scoring.suites import survey as surveyed
from common.scoring.suites.filling import MODES, WRITING, Mode, Rows, fill
from common.scoring.suites.mentions import Mentions, Place
from common.scoring.suites.survey import Column, Survey
from common.scoring.suites.values import Pool, pool

MOST_CANDIDATES = 24
MOST_NEIGHBOURS = 30
MOST_WRITING_NEIGHBOURS = 10
MOST_OF_AN_OPERATOR = 10  # of which the sample takes some
LONGEST_CHANGED = 6_000  # characters; of a longer reference no near misses are made, so that time stays bounded
SHUFFLES_OF_FRAGILE = 5  # orders of rows tried where the first of them may decide
MOST_TURNS = 20
PARTED_OFTEN = 3  # a near miss that so many candidates part is tried no more
MOST_RESULT_ROWS = 2_000
MOST_TICKS = 600  # 6,000,000 steps for all runs together
_KEY_IS_ROWID = re.compile(r"\bINTEGER\b", re.IGNORECASE)
_COUNTER = re.compile(r"\bAUTOINCREMENT\b", re.IGNORECASE)


@dataclass
class Candidate:
    """A database that may come into the suite, and the near misses (by number) that it parts."""

    mode: str
    image: bytes
    rows: int  # of the reference's result
    parts: set[int] = field(default_factory=set)


def build(reference: Reference, *, number: int, generator: str, seed: int, renew: Callable[[], None]) -> list[bytes]:
    """The images of a suite, best first, at most `number`; fewer where no more can be relied on.

    renew: called before foreign text runs, so that each run gets CPU time of its own.
    """
    survey = surveyed.look(reference.database.reader)
    if survey is None or reference.run.used_random:
        return []
    with trusted():
        _warm_up()
    renew()
    mentions = mentioned.read(reference.statements, survey)
    pools = _pools(survey, mentions, aggressive=generator == "aggressive")
    key = f"{seed}/{generator}/{';'.join(reference.statements)}"
    renew()
    writes = reference.run.state is not None
    text = "; ".join(reference.statements)
    found = neighbours(text, most=MOST_OF_AN_OPERATOR) if len(text) <= LONGEST_CHANGED else []
    near_misses = sample(found, key, writes)
    modes = [mode for mode in MODES if not writes or mode.name in WRITING]
    works = _Workshop(survey, mentions, reference, near_misses, renew)
    wanted = max(number + 2, len(modes))
    for attempt in range(max(MOST_CANDIDATES, 4 * number)):
        if works.ticks >= MOST_TICKS or (len(works.candidates) >= wanted and works.is_done()):
            break
        rng = random.Random(f"{attempt}/{key}")
        mode = modes[attempt % len(modes)]
        works.try_one(mode, fill(survey, pools, mentions, mode, rng))
    return [candidate.image for candidate in works.choose(number)]


def _pools(survey: Survey, mentions: Mentions, *, aggressive: bool) -> dict[Place, Pool]:
    """What each column's values are drawn from, once the survey knows what the reference shows of keys and repeats."""
    for left, right in mentions.joined:
        surveyed.equate(left, right)
    surveyed.order_again(survey)
    for column in mentions.repeated:
        column.naming = False
    merged: dict[Place, list[Column]] = {}
    for left, right in [*mentions.joined, *mentions.compared]:
        merged.setdefault(left.place, []).append(right)
        merged.setdefault(right.place, []).append(left)
    pools = {
        column.place: pool(column, mentions, aggressive=aggressive, merged=merged.get(column.place, ()))
        for column in survey.columns()
    }
    if aggressive:
        for column in survey.columns():
            column.parent = column.parent if column.declared_parent else None
    return pools


@cache
def _warm_up() -> None:
    """Whatever the parser imports when it is first used."""
    neighbours("SELECT count(*) FROM t WHERE a > 1 AND b LIKE 'x%' ORDER BY a LIMIT 1")


def sample(found: Sequence, key: str, writes: bool) -> list[str]:
    """The near misses that databases are chosen by: some of each operator, in a seeded order."""
    rng = random.Random(f"neighbours/{key}")
    by_operator: dict[str, list[str]] = {}
    for neighbour in found:
        by_operator.setdefault(neighbour.operator, []).append(neighbour.sql)
    for texts in by_operator.values():
        rng.shuffle(texts)
    chosen: list[str] = []
    most = MOST_WRITING_NEIGHBOURS if writes else MOST_NEIGHBOURS
    while by_operator and len(chosen) < most:  # in turn, so that no operator crowds out another
        for operator in sorted(by_operator):
            if len(chosen) < most:
                chosen.append(by_operator[operator].pop())
            if not by_operator[operator]:
                del by_operator[operator]
    return chosen


class _Workshop:
    """Fills databases, and tries the reference and its near misses on them."""

    def __init__(
        self,
        survey: Survey,
        mentions: Mentions,
        reference: Reference,
        near_misses: list[str],
        renew: Callable[[], None],
    ):
        self.survey, self.mentions, self.reference, self.renew = survey, mentions, reference, renew
        self.near_misses = dict(enumerate(near_misses))
        self.times_parted = dict.fromkeys(self.near_misses, 0)
        self.candidates: list[Candidate] = []
        self.ticks = 0
        self.empty = _made(survey.definitions)
        # Stored under other row numbers: where INTEGER PRIMARY KEY is the row number, INT makes it a key like others.
        writes = reference.run.state is not None
        twin = [_COUNTER.sub("", _KEY_IS_ROWID.sub("INT", sql)) for sql in survey.definitions]
        self.twin_empty = (None if writes else _made(twin)) or self.empty

    def is_done(self) -> bool:
        """Whether no near miss is worth another candidate."""
        return all(times >= 2 for number, times in self.times_parted.items() if number in self.near_misses)

    def try_one(self, mode: Mode, rows: list[Rows]) -> None:
        """Keep the database as a candidate if the reference can be relied on there."""
        image = self._filled(self.empty, rows) if self.empty else None
        if image is None:
            return
        self.renew()
        made = self._reference(image)
        if made is None:
            return
        try:
            size = sum(len(result.rows) for result in made.run.results)
            candidate = Candidate(mode.name, image, size)
            for number in list(self.near_misses):
                if self.times_parted[number] < PARTED_OFTEN and self.ticks < MOST_TICKS and self._parts(made, number):
                    candidate.parts.add(number)
                    self.times_parted[number] += 1
            self.candidates.append(candidate)
        finally:
            made.database.close()

    def choose(self, number: int) -> list[Candidate]:
        """Greedily: each next one parts most of what is left, then most in all, then has most rows in its result."""
        chosen: list[Candidate] = []
        waiting = list(self.candidates)
        left = set().union(*(candidate.parts for candidate in waiting))
        while waiting and len(chosen) < number:
            used = {candidate.mode for candidate in chosen}
            best = max(
                waiting, key=lambda c: (len(c.parts & left), len(c.parts), c.mode not in used, min(c.rows, 50), c.image)
            )
            waiting.remove(best)
            if self._can_be_relied_on(best):
                chosen.append(best)
                left -= best.parts
        return chosen

    def _can_be_relied_on(self, candidate: Candidate) -> bool:
        made = self._reference(candidate.image)
        if made is None:
            return False
        try:
            return self._is_stable(made)
        finally:
            made.database.close()

    def _reference(self, image: bytes) -> Reference | None:
        try:
            database = Database(file=image, settings=self.reference.database.settings)
        except Unloadable:
            return None
        try:
            ran = run(database, self.reference.statements)
            self.ticks += ran.ticks
            if sum(len(result.rows) for result in ran.results) <= MOST_RESULT_ROWS:
                return Reference(self.reference.statements, ran, database)
        except Failure as failure:
            self._count(failure)
        database.close()
        return None

    def _count(self, failure: Failure) -> None:
        self.ticks += MOST_TICKS // 3 if failure.outcome == "budget" else 0

    def _is_stable(self, made: Reference) -> bool:
        """Whether the reference gives the same on the same rows, stored in other orders."""
        held = self._held(made.database)
        return held is not None and not any(self._gives_other(made, rows) for rows in self._orders(held))

    def _orders(self, held: list[Rows]) -> Iterator[list[Rows]]:
        if self.mentions.arbitrary:  # each row is the first once, and the last
            for turn in range(1, min(max(map(len, held), default=0), MOST_TURNS)):
                yield [rows[turn % len(rows) :] + rows[: turn % len(rows)] if rows else rows for rows in held]
        rng = random.Random("orders")
        for _ in range(SHUFFLES_OF_FRAGILE if self.mentions.fragile else 1):
            yield [rng.sample(rows, len(rows)) for rows in held]

    def _gives_other(self, made: Reference, rows: list[Rows]) -> bool:
        image = self._filled(self.twin_empty, rows)
        if image is None:
            return True
        self.renew()
        other = self._reference(image)
        if other is None:
            return True
        other.database.close()
        return difference(made, other.run) is not None

    def _held(self, database: Database) -> list[Rows] | None:
        """The rows that a database took, table by table."""
        opened = database.reader
        opened.guard.begin("inspect")
        try:
            return [
                opened.connection.execute(f"SELECT {_listed(table)} FROM {quoted(table.name)}").fetchall()
                for table in self.survey.tables
            ]
        except sqlite3.Error:
            return None

    def _parts(self, made: Reference, number: int) -> bool:
        self.renew()
        try:
            ran = run(made.database, parted(self.near_misses[number]))
            self.ticks += ran.ticks
            return difference(made, ran) is not None
        except Failure as failure:
            self._count(failure)
            if failure.outcome in ("syntax_error", "schema_error", "forbidden"):
                del self.near_misses[number]  # nothing that could be right
                return False
            return True

    def _filled(self, empty: bytes, rows: list[Rows]) -> bytes | None:
        with blank(empty) as opened:
            try:
                opened.connection.execute("BEGIN")
                for table, own in zip(self.survey.tables, rows, strict=True):
                    if own:
                        marks = ", ".join("?" * len(table.columns))
                        sql = f"INSERT OR IGNORE INTO {quoted(table.name)} ({_listed(table)}) VALUES ({marks})"
                        _insert(opened, sql, own)
                for sql in self.survey.triggers:
                    opened.connection.execute(sql)
                opened.connection.execute("COMMIT")
            except (sqlite3.Error, MemoryError, OverflowError, UnicodeError):
                return None  # a value or a definition that cannot be had here
            return _image(opened)


def _insert(opened: Open, sql: str, rows: Rows) -> None:
    try:
        opened.connection.executemany(sql, rows)
    except sqlite3.IntegrityError:  # a STRICT table takes no value of another type, whatever IGNORE says
        for row in rows:
            with suppress(sqlite3.IntegrityError):
                opened.connection.execute(sql, row)


def _listed(table: surveyed.Table) -> str:
    return ", ".join(quoted(column.name) for column in table.columns)


def _made(definitions: list[str]) -> bytes | None:
    """An image with these tables, views and indexes and no rows; None where a definition does not run by itself."""
    with blank(None) as opened:
        try:
            for sql in definitions:
                opened.connection.execute(sql)
        except (sqlite3.Error, MemoryError):
            return None
        return _image(opened)


def _image(opened: Open) -> bytes:
    opened.guard.begin("inspect")  # to SQLite it asks for the number of pages
    return opened.connection.serialize()
