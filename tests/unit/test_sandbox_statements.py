"""The sandbox's frames and statements: what is split, refused and allowed, before any process."""

import sqlite3
import time

import pytest

from common.sandbox import frames
from common.sandbox.connections import LIMITS
from common.sandbox.database import Database
from common.sandbox.guard import Guard
from common.sandbox.statements import Failure, check, split
from tests.cost import TRIES

SCHEMA = "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2), (3);"


def test_frames_carry_any_text_and_bytes():
    message = ["\0", "\ud800 \udcff", "é\n\"'", {"k": None}, 2**63]
    data = frames.pack(message, b"\0\xff") + frames.pack("next")
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        position += size
        return data[position - size : position]

    assert frames.read(read) == (message, b"\0\xff")
    assert frames.read(read) == ("next", b"")
    assert frames.read(read) is None
    assert frames.read(lambda size: data[: min(size, 5)]) is None  # cut off


@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ("", 0),
        (" ; -- x\n; /* ; */ ;", 0),
        ("SELECT 1", 1),
        ("SELECT 1;", 1),
        (";SELECT 1;;", 1),
        ("SELECT ';', \";\", `;`, [;] -- ;\n /* ; */", 1),
        ("SELECT 'it''s;'; SELECT 2", 2),
        ("SELECT 1; SELECT 2 -- ;", 2),
        ("CREATE TRIGGER g AFTER DELETE ON t BEGIN SELECT 1; SELECT 2; END; SELECT 3", 2),
        ("create temp trigger if not exists g after delete on t begin select 1; end", 1),
        ("CREATE TABLE trigger_log (a); SELECT 1", 2),
        ("SELECT 'open; SELECT 2", 1),
        ("SELECT 1 /* open; SELECT 2", 1),
    ],
)
def test_split(sql, count):
    assert len(split(sql)) == count


def seconds_to_split(size: int) -> float:
    started = time.process_time()
    for piece in ("'", '"', "`", "[", "/*", "--", ";", "a;", "create trigger ;", "''", "-", "/"):
        split(piece * (size // len(piece)))
    return time.process_time() - started


def test_splitting_hostile_text_takes_linear_time():
    # Ten times the text in ten times the time, more or less; a hundred times if it were quadratic.
    short = min(seconds_to_split(20_000) for _ in range(3))
    assert any(seconds_to_split(200_000) < 40 * short for _ in range(TRIES))


@pytest.mark.parametrize(
    ("sql", "outcome"), [("a\0b", "syntax_error"), ("\ud800", "syntax_error"), ("é" * 10_001, "too_large")]
)
def test_check(sql, outcome):
    with pytest.raises(Failure) as error:
        check(sql)
    assert error.value.outcome == outcome
    check("é" * 10_000)


def test_a_guard_forgets_the_last_statement():
    guard = Guard()
    guard.begin("read")
    for _ in range(199):
        assert not guard.tick()
    assert guard.tick() and guard.over_budget
    first = guard.random().random()
    guard.begin("read")
    assert not guard.tick() and not guard.over_budget and not guard.uses_random
    assert guard.random().random() == first


@pytest.mark.parametrize(
    ("mode", "action", "first", "allowed"),
    [
        ("schema", "ATTACH", ":memory:", False),
        ("schema", "TRANSACTION", "BEGIN", True),
        ("schema", "PRAGMA", "foreign_keys", True),
        ("schema", "PRAGMA", "hard_heap_limit", False),
        ("published", "ATTACH", "/tmp/x", False),
        ("published", "ATTACH", None, False),  # an expression
        ("published", "ATTACH", ":memory:", True),
        ("published", "PRAGMA", "HARD_HEAP_LIMIT", False),
        ("published", "PRAGMA", "table_info", True),
        ("write", "ATTACH", ":memory:", False),
        ("write", "TRANSACTION", "BEGIN", False),
        ("write", "PRAGMA", "table_info", False),
        ("write", "DELETE", "t", True),
        ("read", "DELETE", "t", False),
        ("read", "UPDATE", "sqlite_master", True),  # json_each asks so and never does
        ("inspect", "PRAGMA", "table_info", True),
        ("inspect", "ATTACH", ":memory:", False),
        ("inspect", "DELETE", "t", False),
    ],
)
def test_what_each_mode_allows(mode, action, first, allowed):
    guard = Guard()
    guard.begin(mode)
    code = guard.authorize(getattr(sqlite3, f"SQLITE_{action}"), first, None, "main", None)
    assert (code == sqlite3.SQLITE_OK) == allowed


def test_an_unknown_action_is_refused_in_strict_modes():
    for mode in ("read", "write", "schema", "inspect"):
        guard = Guard()
        guard.begin(mode)
        assert guard.authorize(999, None, None, None, None) == sqlite3.SQLITE_DENY


def test_a_private_copy_has_limits_and_is_private():
    database = Database(schema=SCHEMA)
    with database.copy() as first, database.copy() as second:
        for handle in (first, second):
            assert {limit: handle.connection.getlimit(limit) for limit in LIMITS} == LIMITS
            handle.guard.begin("inspect")
            pages = handle.connection.execute("PRAGMA page_count").fetchone()[0]
            assert handle.connection.execute("PRAGMA max_page_count").fetchone()[0] == pages + 2048
        reader = database.reader.connection
        assert {limit: reader.getlimit(limit) for limit in LIMITS} == LIMITS
        first.guard.begin("write")
        first.connection.execute("DELETE FROM t")
        second.guard.begin("read")
        assert second.connection.execute("SELECT count(*) FROM t").fetchone() == (3,)
    database.close()
