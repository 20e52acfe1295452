"""Databases by the short way and by the watched one: the same content, the same reasons, nothing of what was before."""

import sqlite3
from contextlib import suppress

import pytest

from common.sandbox import database as databases
from common.sandbox.database import Database, Unloadable
from common.sandbox.statements import Failure
from common.scoring import state
from common.scoring.running import run_on

ROWS = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT DEFAULT 'x'); INSERT INTO t VALUES (1, 'y'), (2, NULL);"
SCRIPTS = {
    "rows": ROWS,
    "nothing": "",
    "a comment": "-- nothing",
    "a syntax error": ROWS + " INSERT INTO",
    "an error after rows": ROWS + " INSERT INTO t VALUES (1, 'twice')",
    "NUL": ROWS + "\0",
    "a lone surrogate": ROWS + "\ud800",
    "the clock": "CREATE TABLE t (a DEFAULT CURRENT_TIMESTAMP); INSERT INTO t DEFAULT VALUES",
    "random": "CREATE TABLE t (a DEFAULT (random())); INSERT INTO t DEFAULT VALUES",
    "a value that is too long": "CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(1000001))",
    "a value that only a query may not have": "CREATE TABLE t (a); INSERT INTO t VALUES (printf('%.*c', 900000, 'x'))",
    "more columns than a query may have": f"CREATE TABLE t ({', '.join(f'c{i}' for i in range(300))})",
    "more values than a query may have": f"CREATE TABLE t (a); INSERT INTO t VALUES {', '.join(['(1)'] * 30_000)}",
    "more pages than there may be": "CREATE TABLE t (a);" + "INSERT INTO t VALUES (zeroblob(900000));" * 20,
    "more than the heap": "CREATE TABLE t (a);" + "INSERT INTO t VALUES (zeroblob(900000));" * 90,
    "an unknown function": "CREATE TABLE t (a CHECK (readfile(a)))",
    "a transaction without its begin": ROWS + " END;",
}
WATCHED = {
    "ATTACH": "CREATE TABLE t (a); ATTACH ':memory:' AS other",
    "DETACH": "DETACH main",
    "PRAGMA": "CREATE TABLE t (a); PRAGMA Journal_Mode = OFF",
    "a table that is a PRAGMA": "CREATE TABLE t (a CHECK (a IN pragma_database_list))",
    "VACUUM": ROWS + " VACUUM",
    "a virtual table": "CREATE VIRTUAL TABLE t USING fts5 (a)",
    "an extension": "CREATE TABLE t (a DEFAULT (Load_Extension('x'))); INSERT INTO t DEFAULT VALUES",
    "a query": "CREATE TABLE t AS SELECT 1 AS a",
    "a trigger": "CREATE TABLE t (a); CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t; END",
    "a catalogue": "CREATE TABLE t (a CHECK (1 IN DBstat))",
    "SQLite's own": "CREATE TABLE t (a CHECK (1 IN sqlite_stmt))",
}


def content(script: str) -> object:
    """An image and what follows from it, or why there is none."""
    try:
        database = Database(schema=script)
    except Unloadable as error:
        return str(error)
    answer = database._image, database.is_plain, database.settings, database.budget
    database.close()
    return answer


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_short_way_and_the_watched_one_lead_to_the_same(name, monkeypatch):
    script = SCRIPTS[name]
    assert databases._character(script) == (True, True), "the short way is taken"
    ours = content(script)
    monkeypatch.setattr(databases, "_character", lambda schema: (True, False))
    assert content(script) == ours


def test_a_script_that_is_run_again_has_its_time_again():
    """Else one that takes half of it and fails late would not load at all."""
    calls = []
    for name in ("more columns than a query may have", "an unknown function", "more pages than there may be"):
        with suppress(Unloadable):
            Database(schema=SCRIPTS[name], renew=lambda name=name: calls.append(name)).close()
    assert len(calls) == len(set(calls)) == 3
    Database(schema=ROWS, renew=lambda: pytest.fail("it was run once")).close()
    with suppress(Unloadable):
        Database(schema=WATCHED["PRAGMA"], renew=lambda: pytest.fail("it was run once"))


@pytest.mark.parametrize("name", WATCHED)
def test_what_a_guard_would_refuse_is_watched(name):
    assert not databases._character(WATCHED[name])[1]


def test_the_parts_of_words_that_are_looked_for_find_all_words():
    for word in databases._STATEFUL | databases._WATCHED:
        assert any(hint in word for hint in databases._HINTS), word
        assert databases._character(f"CREATE TABLE t (a);\n{word.title()} x") != (True, True)


def test_a_database_that_came_the_short_way_is_watched_from_then_on():
    database = Database(schema=ROWS)
    for sql in ("DELETE FROM t", "PRAGMA user_version", "ATTACH ':memory:' AS x", "SELECT * FROM sqlite_stmt"):
        with pytest.raises(sqlite3.DatabaseError, match="not authorized|prohibited|not allowed|no such table"):
            database.reader.connection.execute(sql)
    assert database.reader.guard.wants_write and database.reader.guard.refusal


INSERT = "INSERT INTO t (b) VALUES ('z')"
# After statements whose copies share a connection: what would tell of them.
TELLTALES = [
    ("INSERT INTO t SELECT 50 + total_changes(), 'n'", [50]),
    ("INSERT INTO t SELECT 50 + changes(), 'n'", [50]),
    ("INSERT INTO t SELECT 50 + last_insert_rowid(), 'n'", [50]),
    ("INSERT INTO t (b) SELECT 'n' FROM sqlite_temp_master", []),
]


@pytest.mark.parametrize(("sql", "more"), TELLTALES)
def test_a_copy_tells_nothing_of_the_one_before(sql, more):
    database = Database(schema=ROWS)
    assert database.is_simple
    for _ in range(3):
        run_on(database, [INSERT, "DELETE FROM t WHERE a = 1"])
    run_on(database, ["CREATE TEMP TABLE u (a)"])
    after = run_on(database, [sql]).state
    after = after.state if isinstance(after, state.Snapshot) else after
    assert [row[0] for row in after.tables["table t"].rows] == [1, 2, *more]


# Statement, another that leaves the same database, and whether images decide that.
PAIRS = [
    (INSERT, "INSERT INTO t VALUES (3, 'z')", True),
    ("DELETE FROM t WHERE a = 2", "DELETE FROM t WHERE b IS NULL", True),
    ("CREATE TABLE u (x INT)", "CREATE TABLE U (X INTEGER)", True),
    ("UPDATE t SET b = 'q'", "UPDATE t SET b = 'q' WHERE a > 0", True),
    ("CREATE VIEW v (x) AS VALUES (1)", "CREATE VIEW V (X) AS VALUES (1)", False),
    ("ALTER TABLE t ADD COLUMN c", "ALTER TABLE t ADD c", False),
]


@pytest.mark.parametrize(("one", "other", "by_image"), PAIRS)
def test_equal_databases_are_equal_whichever_way_they_are_read(one, other, by_image, monkeypatch):
    database = Database(schema=ROWS)
    ours, theirs = run_on(database, [one]).state, run_on(database, [other]).state
    assert isinstance(ours, state.Snapshot) is isinstance(theirs, state.Snapshot) is by_image
    assert state.difference(ours, theirs) is None
    monkeypatch.setattr(state, "LARGEST_SNAPSHOT", 0)
    read = run_on(database, [one]).state, run_on(database, [other]).state
    assert not any(isinstance(each, state.Snapshot) for each in read)
    assert state.difference(*read) is None and state.difference(ours, read[1]) is None
    third = run_on(database, ["DELETE FROM t"]).state
    assert state.difference(ours, third) == state.difference(read[0], third) is not None


def test_what_loads_beyond_the_limits_of_queries_shares_no_copy():
    database = Database(schema=SCRIPTS["more columns than a query may have"])
    assert database.is_plain and not database.is_simple
    with pytest.raises(Failure, match="too many columns"):
        run_on(database, ["DELETE FROM t"])


def test_a_state_that_cannot_be_read_fails_at_once():
    database = Database(schema=f"CREATE TABLE t (b); INSERT INTO t VALUES {', '.join(['(1)'] * 30)}")
    assert isinstance(run_on(database, ["INSERT INTO t VALUES (2)"]).state, state.Snapshot)
    with pytest.raises(Failure, match="more than 20000 rows"):
        run_on(database, ["INSERT INTO t SELECT 2 FROM t x, t y, t z"])
