"""Candidates for a suite: filled, tried with the reference and its near misses, chosen by what they part."""

import random
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from common.sandbox.connections import Handle, blank
from common.sandbox.database import Database, Unloadable
from common.sandbox.statements import Failure
from common.scoring.ordering import has_outer
from common.scoring.running import Reference, difference, run_on, statements_of
from common.scoring.state import quote
from common.scoring.suites.filling import Mode, Rows
from common.scoring.suites.mentions import Mentions
from common.scoring.suites.survey import Survey, Table

SHUFFLES_OF_FRAGILE = 5  # orders of rows tried where the first of them may decide
MOST_TURNS = 20
MOST_ROUNDS = 5  # of removing children without a parent
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


class Workshop:
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
        self.may_cut_ties = _cuts_tie(reference)
        self.orphans = [
            _without_orphans(column.table, [column.name], column.parent.table, [column.parent.name])
            for column in survey.columns()
            if column.parent
        ]
        self.orphans += [
            _without_orphans(table.name, *link) for table in survey.tables for link in table.composite_links
        ]
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
            if not self._is_telling(there):
                return
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

    def _is_telling(self, there: Reference) -> bool:
        """Whether what the reference gives there is like what it gives on the given rows: see the mentions."""
        if self.mentions.extremes and not _is_void(self.reference) and _is_void(there):
            return False
        return self.may_cut_ties or not _cuts_tie(there)

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
                for _ in range(MOST_ROUNDS):  # who is removed may have been a parent
                    if not sum(handle.connection.execute(sql).rowcount for sql in self.orphans):
                        break
                for sql in self.survey.triggers:
                    handle.connection.execute(sql)
                handle.connection.execute("COMMIT")
            except (sqlite3.Error, MemoryError, OverflowError, UnicodeError):
                return None  # a value or a definition that cannot be had here
            return _image(handle)


def _without_orphans(child: str, ours: list[str], parent: str, theirs: list[str]) -> str:
    """SQL that removes children whose parent's row did not fit in, by a CHECK or a key of several columns."""
    there = " AND ".join(f"p.{quote(b)} = {quote(child)}.{quote(a)}" for a, b in zip(ours, theirs, strict=True))
    whole = " AND ".join(f"{quote(name)} NOT NULL" for name in ours)
    return f"DELETE FROM {quote(child)} WHERE {whole} AND NOT EXISTS (SELECT 1 FROM {quote(parent)} AS p WHERE {there})"


def _is_void(reference: Reference) -> bool:
    """Whether a reference gives no row, or nothing but NULL."""
    return not any(value is not None for result in reference.run.results for row in result.rows for value in row)


def _cuts_tie(reference: Reference) -> bool:
    """Whether a LIMIT or OFFSET leaves out some of the rows that tie; False where the keys cannot be followed."""
    if reference.run.state is not None:
        return False
    return any(
        len(block.rows) > block.stop - block.start
        for number, statement in enumerate(reference.statements)
        if has_outer(statement, "order") and has_outer(statement, "limit")
        for blocks in reference.orders(number)
        for block in blocks
    )


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
