"""Statements executed for their rows: what comes back of queries, of statements that write, and of hostile ones."""

import sqlite3

import pytest

from common.execution import Execution, Request, Table, execute
from common.execution.executions import words

SCHEMA = "CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, NULL), (3, x'00ff');"
ROWS = ((1, "x"), (2, None), (3, b"\x00\xff"))
WHOLE = Table(("a", "b"), ROWS, 3)
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
CASES = [
    ("SELECT * FROM t", Execution((WHOLE,))),
    ("SELECT a AS one FROM t LIMIT 1; SELECT 2", Execution((Table(("one",), ((1,),), 1), Table(("2",), ((2,),), 1)))),
    ("SELECT a FROM t WHERE a > 9", Execution((Table(("a",), (), 0),))),
    ("DELETE FROM t WHERE a > 1", Execution((Table(("a", "b"), ROWS[:1], 1, "t", 3),), writes=True)),
    (
        "INSERT INTO t VALUES (9, 'q') RETURNING a",
        Execution((Table(("a",), ((9,),), 1), Table(("a", "b"), (*ROWS, (9, "q")), 4, "t", 3)), writes=True),
    ),
    ("UPDATE t SET a = 0 WHERE a > 9", Execution((), writes=True)),
    ("DROP TABLE t", Execution((Table((), (), 0, "t", 3),), writes=True)),
    ("CREATE TABLE u (c INT)", Execution((Table(("c",), (), 0, "u"),), writes=True)),
    ("SELECT 9e999", Execution((Table(("9e999",), ((float("inf"),),), 1),))),
    ("", Execution((), "empty_prediction", "no SQL statement")),
    ("SELECT * FROM nope", Execution((), "schema_error", "no such table: nope")),
    ("SELECT * FROM", Execution((), "syntax_error", "incomplete input")),
    (ENDLESS, Execution((), "budget", "more than 2000000 steps")),
    ("ATTACH 'x.sqlite' AS x", Execution((), "forbidden", "ATTACH or VACUUM is not allowed")),
    (f"INSERT INTO t {ENDLESS.replace('count(*)', 'x, x')}", Execution((), "budget", "more than 2000000 steps")),
]


@pytest.fixture(scope="module")
def executions() -> list[Execution]:
    return execute([Request(sql, SCHEMA) for sql, _ in CASES])


@pytest.mark.parametrize("number", range(len(CASES)), ids=[sql[:40] for sql, _ in CASES])
def test_what_becomes_of_a_text(executions, number):
    assert executions[number] == CASES[number][1]


def test_requests_come_back_in_their_order_whatever_they_run_on(tmp_path):
    file = tmp_path / "own.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE f (x)")
        connection.execute("INSERT INTO f VALUES (7)")
    connection.close()
    before = file.read_bytes()
    requests = [
        Request("SELECT a FROM t", SCHEMA),
        Request("DELETE FROM f", database=file),
        Request("SELECT 1", "CREATE TABLE ("),
        Request("SELECT x FROM f", database=file),
        Request("SELECT max(a) FROM t", SCHEMA),
    ]
    some, deleted, broken, own, other = execute(requests, workers=2)
    assert [row for table in some.tables for row in table.rows] == [(1,), (2,), (3,)]
    assert deleted.writes and deleted.tables == (Table(("x",), (), 0, "f", 1),)
    assert broken.outcome == "schema_invalid" and "syntax error" in broken.detail
    assert own.tables == (Table(("x",), ((7,),), 1),)
    assert other.tables == (Table(("max(a)",), ((3,),), 1),)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


def test_rows_are_cut_and_counted():
    execution = execute([Request("SELECT value FROM json_each('[1,2,3,4]')")], most_rows=2)[0]
    assert execution.tables == (Table(("value",), ((1,), (2,)), 4),)


def test_tables_too_large_to_compare_are_not_compared():
    many = (
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 10001) INSERT INTO t SELECT x, x FROM c"
    )
    execution = execute([Request("DELETE FROM t WHERE a = 1", f"{SCHEMA} {many};")])[0]
    assert execution == Execution((), "", "the tables are too large to be compared", writes=True)


def test_what_burns_time_inside_one_step_is_stopped():
    slow = "SELECT instr(replace(hex(zeroblob(49000)), '0', 'a'), 'b') FROM t, t AS u, t AS v, t AS w, t AS x, t AS y"
    trim = f"SELECT trim(replace(hex(zeroblob(40000)), '0', 'ab'), 'ab') FROM ({slow})"
    execution, following = execute([Request(trim, SCHEMA), Request("SELECT 1", SCHEMA)])
    assert execution.outcome in ("timeout", "budget", "too_large") and not execution.tables
    assert following.tables == (Table(("1",), ((1,),), 1),)


def test_words_of_values():
    assert words([None, 1, 2.5, "a", b"\x01"]) == ("NULL", "1", "2.5", "a", "X'01'")
