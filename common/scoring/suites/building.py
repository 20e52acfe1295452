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
from common.sandbox.database import Database, Handle, Unloadable, blank
from common.sandbox.statements import Failure
from common.sandbox.worker import privileges
from common.scoring.running import Reference, difference, run_on, statements_of
from common.scoring.state import quote
from common.scoring.suites.filling import MODES, WRITING, Mode, Rows, fill
from common.scoring.suites.mentions import Mentions, Place, read_mentions
from common.scoring.suites.survey import Column, Survey, Table, equate, order_again, read_survey
from common.scoring.suites.values import ValuePool, value_pool

MOST_CANDIDATES = 24
MOST_NEIGHBOURS = 30
MOST_WRITING_NEIGHBOURS = 10
MOST_OF_AN_OPERATOR = 10  # of which the sample takes some
LONGEST_TEXT = 6_000  # characters; of a longer reference no near misses are made, so that time stays bounded
SHUFFLES_OF_FRAGILE = 5  # orders of rows tried where the first of them may decide
MOST_TURNS = 20
ENOUGH_SEPARATIONS = 3  # a near miss that so many candidates part is tried no more
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
    survey = read_survey(reference.database.reader)
    if survey is None or reference.run.uses_random:
        return []
    with privileges():
        _warm_up()
    renew()
    mentions = read_mentions(reference.statements, survey)
    pools = _pools(survey, mentions, aggressive=generator == "aggressive")
    key = f"{seed}/{generator}/{';'.join(reference.statements)}"
    renew()
    writes = reference.run.state is not None
    text = "; ".join(reference.statements)
    mutants = neighbours(text, most=MOST_OF_AN_OPERATOR) if len(text) <= LONGEST_TEXT else []
    near_misses = sample(mutants, key, writes)
    modes = [mode for mode in MODES if not writes or mode.name in WRITING]
    works = _Workshop(survey, mentions, reference, near_misses, renew)
    goal = max(number + 2, len(modes))
    for attempt in range(max(MOST_CANDIDATES, 4 * number)):
        if works.ticks >= MOST_TICKS or (len(works.candidates) >= goal and works.is_complete()):
            break
        rng = random.Random(f"{attempt}/{key}")
        mode = modes[attempt % len(modes)]
        works.try_one(mode, fill(survey, pools, mentions, mode, rng))
    return [candidate.image for candidate in works.choose(number)]


def _pools(survey: Survey, mentions: Mentions, *, aggressive: bool) -> dict[Place, ValuePool]:
    """What each column's values are drawn from, once the survey knows what the reference shows of keys and repeats."""
    for left, right in mentions.joins:
        equate(left, right)
    order_again(survey)
    for column in mentions.repeats:
        column.names_rows = False
    partners: dict[Place, list[Column]] = {}
    for left, right in [*mentions.joins, *mentions.comparisons]:
        partners.setdefault(left.place, []).append(right)
        partners.setdefault(right.place, []).append(left)
    pools = {
        column.place: value_pool(column, mentions, aggressive=aggressive, partners=partners.get(column.place, ()))
        for column in survey.columns()
    }
    if aggressive:
        for column in survey.columns():
            column.parent = column.parent if column.parent_in_schema else None
    return pools


@cache
def _warm_up() -> None:
    """Whatever the parser imports when it is first used."""
    neighbours("SELECT count(*) FROM t WHERE a > 1 AND b LIKE 'x%' ORDER BY a LIMIT 1")


def sample(mutants: Sequence, key: str, writes: bool) -> list[str]:
    """The near misses that databases are chosen by: some of each operator, in a seeded order."""
    rng = random.Random(f"neighbours/{key}")
    by_operator: dict[str, list[str]] = {}
    for neighbour in mutants:
        by_operator.setdefault(neighbour.operator, []).append(neighbour.sql)
    for texts in by_operator.values():
        rng.shuffle(texts)
    choice: list[str] = []
    most = MOST_WRITING_NEIGHBOURS if writes else MOST_NEIGHBOURS
    while by_operator and len(choice) < most:  # in turn, so that no operator crowds out another
        for operator in sorted(by_operator):
            if len(choice) < most:
                choice.append(by_operator[operator].pop())
            if not by_operator[operator]:
                del by_operator[operator]
    return choice


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
        self.separations = dict.fromkeys(self.near_misses, 0)
        self.candidates: list[Candidate] = []
        self.ticks = 0
        self.empty = _image_of(survey.definitions)
        # Stored under other row numbers: where INTEGER PRIMARY KEY is the row number, INT makes it a key like others.
        writes = reference.run.state is not None
        twin = [_COUNTER.sub("", _KEY_IS_ROWID.sub("INT", sql)) for sql in survey.definitions]
        self.twin_empty = (None if writes else _image_of(twin)) or self.empty

    def is_complete(self) -> bool:
        """Whether no near miss is worth another candidate."""
        return all(times >= 2 for number, times in self.separations.items() if number in self.near_misses)

    def try_one(self, mode: Mode, rows: list[Rows]) -> None:
        """Keep the database as a candidate if the reference can be relied on there."""
        image = self._fill(self.empty, rows) if self.empty else None
        if image is None:
            return
        self.renew()
        there = self._reference(image)
        if there is None:
            return
        try:
            size = sum(len(result.rows) for result in there.run.results)
            candidate = Candidate(mode.name, image, size)
            for number in list(self.near_misses):
                if (
                    self.separations[number] < ENOUGH_SEPARATIONS
                    and self.ticks < MOST_TICKS
                    and self._separates(there, number)
                ):
                    candidate.parts.add(number)
                    self.separations[number] += 1
            self.candidates.append(candidate)
        finally:
            there.database.close()

    def choose(self, number: int) -> list[Candidate]:
        """Greedily: each next one parts most of what is left, then most in all, then has most rows in its result."""
        choice: list[Candidate] = []
        candidates = list(self.candidates)
        rest = set().union(*(candidate.parts for candidate in candidates))
        while candidates and len(choice) < number:
            modes = {candidate.mode for candidate in choice}
            best = max(
                candidates,
                key=lambda c: (len(c.parts & rest), len(c.parts), c.mode not in modes, min(c.rows, 50), c.image),
            )
            candidates.remove(best)
            if self._is_reliable(best):
                choice.append(best)
                rest -= best.parts
        return choice

    def _is_reliable(self, candidate: Candidate) -> bool:
        there = self._reference(candidate.image)
        if there is None:
            return False
        try:
            return self._is_stable(there)
        finally:
            there.database.close()

    def _reference(self, image: bytes) -> Reference | None:
        try:
            database = Database(file=image, settings=self.reference.database.settings)
        except Unloadable:
            return None
        try:
            run = run_on(database, self.reference.statements)
            self.ticks += run.ticks
            if sum(len(result.rows) for result in run.results) <= MOST_RESULT_ROWS:
                return Reference(self.reference.statements, run, database)
        except Failure as failure:
            self._count(failure)
        database.close()
        return None

    def _count(self, failure: Failure) -> None:
        self.ticks += MOST_TICKS // 3 if failure.outcome == "budget" else 0

    def _is_stable(self, there: Reference) -> bool:
        """Whether the reference gives the same on the same rows, stored in other orders."""
        contents = self._contents(there.database)
        return contents is not None and not any(self._gives_other(there, rows) for rows in self._orders(contents))

    def _orders(self, contents: list[Rows]) -> Iterator[list[Rows]]:
        if self.mentions.arbitrary:  # each row is the first once, and the last
            for turn in range(1, min(max(map(len, contents), default=0), MOST_TURNS)):
                yield [rows[turn % len(rows) :] + rows[: turn % len(rows)] if rows else rows for rows in contents]
        rng = random.Random("orders")
        for _ in range(SHUFFLES_OF_FRAGILE if self.mentions.fragile else 1):
            yield [rng.sample(rows, len(rows)) for rows in contents]

    def _gives_other(self, there: Reference, rows: list[Rows]) -> bool:
        image = self._fill(self.twin_empty, rows)
        if image is None:
            return True
        self.renew()
        other = self._reference(image)
        if other is None:
            return True
        other.database.close()
        return difference(there, other.run) is not None

    def _contents(self, database: Database) -> list[Rows] | None:
        """The rows that a database took, table by table."""
        handle = database.reader
        handle.guard.begin("inspect")
        try:
            return [
                handle.connection.execute(f"SELECT {_column_list(table)} FROM {quote(table.name)}").fetchall()
                for table in self.survey.tables
            ]
        except sqlite3.Error:
            return None

    def _separates(self, there: Reference, number: int) -> bool:
        self.renew()
        try:
            run = run_on(there.database, statements_of(self.near_misses[number]))
            self.ticks += run.ticks
            return difference(there, run) is not None
        except Failure as failure:
            self._count(failure)
            if failure.outcome in ("syntax_error", "schema_error", "forbidden"):
                del self.near_misses[number]  # nothing that could be right
                return False
            return True

    def _fill(self, empty: bytes, rows: list[Rows]) -> bytes | None:
        with blank(empty) as handle:
            try:
                handle.connection.execute("BEGIN")
                for table, new_rows in zip(self.survey.tables, rows, strict=True):
                    if new_rows:
                        marks = ", ".join("?" * len(table.columns))
                        sql = f"INSERT OR IGNORE INTO {quote(table.name)} ({_column_list(table)}) VALUES ({marks})"
                        _insert(handle, sql, new_rows)
                for sql in self.survey.triggers:
                    handle.connection.execute(sql)
                handle.connection.execute("COMMIT")
            except (sqlite3.Error, MemoryError, OverflowError, UnicodeError):
                return None  # a value or a definition that cannot be had here
            return _image(handle)


def _insert(handle: Handle, sql: str, rows: Rows) -> None:
    try:
        handle.connection.executemany(sql, rows)
    except sqlite3.IntegrityError:  # a STRICT table takes no value of another type, whatever IGNORE says
        for row in rows:
            with suppress(sqlite3.IntegrityError):
                handle.connection.execute(sql, row)


def _column_list(table: Table) -> str:
    return ", ".join(quote(column.name) for column in table.columns)


def _image_of(definitions: list[str]) -> bytes | None:
    """An image with these tables, views and indexes and no rows; None where a definition does not run by itself."""
    with blank(None) as handle:
        try:
            for sql in definitions:
                handle.connection.execute(sql)
        except (sqlite3.Error, MemoryError):
            return None
        return _image(handle)


def _image(handle: Handle) -> bytes:
    handle.guard.begin("inspect")  # to SQLite it asks for the number of pages
    return handle.connection.serialize()
