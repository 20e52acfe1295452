"""Which answer is elected, what a hint says, and how rows are shown."""

import sqlite3
from contextlib import closing

import pytest

from common.ask.copies import open_copy
from common.ask.display import change_text, frame, rows_text, vote_table
from common.ask.hints import hint
from common.ask.votes import Answer, elected
from common.execution import Change, Execution, Table, execute_one

FAILED = Execution((), "schema_error", "no such table: t")


def rows(*values: object) -> Execution:
    return Execution((Table(("x",), tuple((value,) for value in values), len(values)),))


def test_equal_results_are_votes_and_the_first_wins_a_tie():
    answers = [("SELECT 1", rows(1)), ("SELECT 2", rows(2)), ("SELECT 1.0", rows(1.0)), ("SELECT 3", rows(3))]
    answer = elected(answers)
    assert (answer.sql, answer.votes, answer.of, answer.agreement) == ("SELECT 1", 2, 4, 0.5)
    assert answer.others == (("SELECT 2", 1), ("SELECT 3", 1))
    assert elected(answers[1:2] + answers[3:]).sql == "SELECT 2"


def test_more_votes_overrule_the_first():
    answer = elected([("a", rows(1)), ("b", rows(2)), ("c", rows(2))])
    assert (answer.sql, answer.votes, answer.others) == ("b", 2, (("a", 1),))


def test_order_counts_where_both_statements_have_one():
    ordered, other = ("SELECT x FROM t ORDER BY x", rows(1, 2)), ("SELECT x FROM t ORDER BY x DESC", rows(2, 1))
    assert elected([ordered, other]).votes == 1
    assert elected([ordered, ("SELECT x FROM t", rows(2, 1))]).votes == 2


def test_what_fails_or_writes_is_elected_only_where_nothing_reads():
    write = ("DELETE FROM t", Execution((), writes=True, changes=(Change("t", "rows"),)))
    assert elected([("a", FAILED), ("b", FAILED), write, ("SELECT 7", rows(7))]).sql == "SELECT 7"
    assert elected([("a", FAILED), ("b", FAILED), write]).sql == "DELETE FROM t"
    answer = elected([("a", FAILED), ("b", FAILED), ("b", FAILED)])
    assert (answer.sql, answer.votes, answer.of) == ("b", 2, 3)  # failures agree only where they are one text


@pytest.fixture
def copy(tmp_path):
    file = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(
            "CREATE TABLE customers (id INT, name TEXT, country TEXT);"
            "INSERT INTO customers VALUES (1, 'Ada', 'Germany'); CREATE TABLE orders (customer INT, pieces INT);"
        )
    with open_copy(file) as copy:
        yield copy


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM customer", "the file has 'customers'; ask in its words"),
        ("SELECT * FROM zzz", "its tables are customers, orders; ask in their words"),
        ("SELECT Pieces FROM customers", "'Pieces' is a column of 'orders', which the statement does not read"),
        ("SELECT c.nam FROM customers AS c", "the file has 'name'; ask in its words"),
        ("SELECT * FROM customers WHERE country = 'Germny'", "no column holds 'Germny', but there is 'Germany'"),
        ("SELECT * FROM customers WHERE country LIKE '%xyz%'", "no column holds '%xyz%'"),
        ("SELECT * FROM customers WHERE country LIKE 'germ%' AND id = 2", "every text in it occurs"),
        ("SELECT * FROM customers WHERE id = 2", ""),
        ("SELECT * FROM customers", ""),
        ("SELECT o.name FROM orders AS o", "'name' is a column of 'customers', not of 'o'; name that table"),
        ("SELECT year(id) FROM customers", "SQLite has no such function"),
        ("SELECT id FROM customers AS a, customers AS b", "several tables have that column"),
        ("SELECT date('now')", "the sandbox's clock stands at 2024-01-15 12:00:00; for another day"),
        ("SELECT id FROM customers WHERE name = 'now we'", "no column holds 'now we'"),
        ("SELECT * FROM", "ask again in other words"),
        ("ATTACH 'a' AS b", "the sandbox runs one statement"),
        ("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c", "it did not end"),
    ],
)
def test_hints(copy, sql, expected):
    (execution,) = execute_one(copy.path, [sql])
    line = hint(copy, sql, execution)
    assert line.startswith(expected) and bool(line) == bool(expected)


def test_a_text_beyond_those_that_are_looked_at_is_there(tmp_path):
    file = tmp_path / "many.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE t (id INT, name TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(n, f"N{n:05}") for n in range(3000)])
        connection.commit()
    with open_copy(file) as copy:
        sql = "SELECT id FROM t WHERE name = 'N02999' AND id < 3"
        assert hint(copy, sql, execute_one(copy.path, [sql])[0]).startswith("every text in it occurs")
        sql = "DELETE FROM t WHERE id = 1"
        assert hint(copy, sql, Execution((), "too_large", "more than 20000 rows")).startswith("its tables are larger")


def test_rows_as_text():
    table = Table(("a", "b"), ((None, b"\xff"), (1, "x"), (2, "y")), 30)
    assert rows_text(table, 2) == "a    b    \nNULL X'FF'\n   1     x\n(30 rows, the first 2)".replace("FF", "ff")
    assert rows_text(Table(("a",), (), 0)) == "no rows"
    assert rows_text(Table(("a",), ((1,),), 1)).endswith("(1 row)")
    assert list(frame(table).columns) == ["a", "b"] and frame(table).iloc[0].tolist() == ["NULL", "X'ff'"]


def test_changes_as_text():
    gone, came = Table(("a",), ((1,), (2,)), 2), Table(("a",), (), 0)
    text = change_text(Change("t", "rows", gone, came, 3))
    assert text.startswith("t has other rows\nremoved:\na") and text.endswith("(2 rows)") and "added" not in text
    assert change_text(Change("index i", "new")) == "index i is new"


def test_votes_as_a_table():
    table = vote_table(Answer("a", rows(1), 3, 5, (("b", 1), ("c", 1))))
    assert table.to_numpy().tolist() == [["a", 3], ["b", 1], ["c", 1]] and table.columns[1] == "votes of 5"
