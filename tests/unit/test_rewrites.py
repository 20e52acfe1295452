"""Rewrites mean the same as their reference: by hand on small cases, executed on odd rows, left out where in doubt."""

import json
import sqlite3

import pytest

from common.certify.rewrites import MOST_OF_ONE_KIND, Rewrite, rewrites
from common.data import load_examples

SCHEMA = "CREATE TABLE t (a INT, b TEXT, c REAL); CREATE TABLE u (i INT, x TEXT);"

CASES = [
    ("rendering", "SELECT a FROM t WHERE b IS NOT NULL", "SELECT a FROM t WHERE NOT b IS NULL"),
    ("comparison flipped", "SELECT a FROM t WHERE a > 3", "SELECT a FROM t WHERE 3 < a"),
    ("comparison negated", "SELECT a FROM t WHERE a > 3", "SELECT a FROM t WHERE (NOT a <= 3)"),
    ("comparison negated", "SELECT a FROM t WHERE b <> 'x'", "SELECT a FROM t WHERE (NOT b = 'x')"),
    ("AND commuted", "SELECT a FROM t WHERE a > 3 AND b = 'x'", "SELECT a FROM t WHERE b = 'x' AND a > 3"),
    ("OR commuted", "SELECT a FROM t WHERE a > 3 OR b = 'x'", "SELECT a FROM t WHERE b = 'x' OR a > 3"),
    ("BETWEEN as comparisons", "SELECT a FROM t WHERE a BETWEEN 1 AND 5", "SELECT a FROM t WHERE (a >= 1 AND a <= 5)"),
    ("comparisons as BETWEEN", "SELECT a FROM t WHERE a >= 1 AND a <= 5", "SELECT a FROM t WHERE a BETWEEN 1 AND 5"),
    ("IN as OR", "SELECT a FROM t WHERE NOT a IN (1, 2)", "SELECT a FROM t WHERE NOT (a = 1 OR a = 2)"),
    ("double negation", "SELECT a FROM t WHERE a > 3", "SELECT a FROM t WHERE NOT (NOT (a > 3))"),
    ("true condition", "SELECT a FROM t WHERE a > 3", "SELECT a FROM t WHERE (a > 3) AND 1 = 1"),
    ("brackets", "SELECT a FROM t WHERE a > 3", "SELECT a FROM t WHERE (a > 3)"),
    ("arithmetic commuted", "SELECT a + c FROM t", "SELECT c + a FROM t"),
    ("CASE as IIF", "SELECT CASE WHEN a > 1 THEN 'x' ELSE 'y' END FROM t", "SELECT IIF(a > 1, 'x', 'y') FROM t"),
    ("COUNT(*) as COUNT(1)", "SELECT COUNT(*) FROM t", "SELECT COUNT(1) FROM t"),
    ("COUNT(1) as COUNT(*)", "SELECT COUNT(1) FROM t", "SELECT COUNT(*) FROM t"),
    ("wrapped", "SELECT a FROM t", "SELECT * FROM (SELECT a FROM t)"),
    ("columns qualified", "SELECT a FROM t WHERE b = 'x'", "SELECT t.a FROM t WHERE t.b = 'x'"),
    ("columns unqualified", "SELECT t.a FROM t WHERE t.b = 'x'", "SELECT a FROM t WHERE b = 'x'"),
    ("table alias added", "SELECT t.a FROM t", "SELECT renamed_0.a FROM t AS renamed_0"),
    ("table alias renamed", "SELECT q.a FROM t AS q", "SELECT renamed_0.a FROM t AS renamed_0"),
    ("column alias dropped", "SELECT COUNT(*) AS n FROM t", "SELECT COUNT(*) FROM t"),
    ("join commuted", "SELECT a FROM t JOIN u ON t.a = u.i", "SELECT a FROM u JOIN t ON t.a = u.i"),
    ("DISTINCT as GROUP BY", "SELECT DISTINCT a, b FROM t", "SELECT a, b FROM t GROUP BY a, b"),
    ("explicit ASC", "SELECT a FROM t ORDER BY a", "SELECT a FROM t ORDER BY a ASC"),
    ("key as ordinal", "SELECT a, c FROM t ORDER BY c DESC", "SELECT a, c FROM t ORDER BY 2 DESC"),
    ("ordinal as expression", "SELECT a, c FROM t ORDER BY 2", "SELECT a, c FROM t ORDER BY c"),
    ("OFFSET 0", "SELECT a FROM t ORDER BY a LIMIT 2", "SELECT a FROM t ORDER BY a LIMIT 2 OFFSET 0"),
    (
        "set operation swapped",
        "SELECT a FROM t UNION SELECT i FROM u",
        "SELECT i FROM u UNION SELECT a FROM t",
    ),
    (
        "UNION as DISTINCT",
        "SELECT a FROM t UNION SELECT i FROM u",
        "SELECT DISTINCT * FROM (SELECT a FROM t UNION ALL SELECT i FROM u)",
    ),
    (
        "CTE as derived table",
        "WITH g AS (SELECT a FROM t) SELECT a FROM g WHERE a > 1",
        "SELECT a FROM (SELECT a FROM t) AS g WHERE a > 1",
    ),
    (
        "derived table as CTE",
        "SELECT g.a FROM (SELECT a FROM t) AS g",
        "WITH g AS (SELECT a FROM t) SELECT g.a FROM g",
    ),
    (
        "EXISTS (SELECT NULL)",
        "SELECT a FROM t WHERE EXISTS(SELECT x FROM u WHERE u.i = t.a)",
        "SELECT a FROM t WHERE EXISTS(SELECT NULL FROM u WHERE u.i = t.a)",
    ),
    ("assignments commuted", "UPDATE t SET a = 1, b = 'x'", "UPDATE t SET b = 'x', a = 1"),
    ("WHERE 1", "DELETE FROM t", "DELETE FROM t WHERE 1"),
    ("INSERT with column list", "INSERT INTO u VALUES (1, 'x')", 'INSERT INTO u ("i", "x") VALUES (1, \'x\')'),
    ("INSERT columns in another order", "INSERT INTO u (i, x) VALUES (1, 'x')", "INSERT INTO u (x, i) VALUES ('x', 1)"),
    ("VALUES as SELECT", "INSERT INTO u (i, x) VALUES (1, 'x')", "INSERT INTO u (i, x) SELECT 1, 'x'"),
    ("type name", "CREATE TABLE z (a INT, b TEXT)", "CREATE TABLE z (a INTEGER, b TEXT)"),
    ("case", "SELECT a FROM t WHERE b = 'Rome'", "select a from t where b = 'Rome'"),
    ("null test", "SELECT a FROM t WHERE b IS NOT NULL", "SELECT a FROM t WHERE b NOTNULL"),
    ("unequal sign", "SELECT a FROM t WHERE b <> 'x'", "SELECT a FROM t WHERE b != 'x'"),
    ("equals sign", "SELECT a FROM t WHERE a >= 1 AND b = 'x'", "SELECT a FROM t WHERE a >= 1 AND b == 'x'"),
    ("comment", "SELECT a FROM t", "-- the answer\nSELECT a FROM t /* done */"),
]


@pytest.mark.parametrize("kind, reference, expected", CASES)
def test_makes(kind, reference, expected):
    assert Rewrite(kind, expected) in rewrites(reference, SCHEMA)


# Kinds that would change the result of this very reference on some database.
LEFT_ALONE = [
    ("SELECT a FROM t WHERE b = 'x' COLLATE NOCASE", {"comparison flipped"}),
    ("SELECT a FROM t LIMIT 1", {"comparison flipped", "wrapped", "join commuted"}),
    ("SELECT b, MAX(a) FROM t JOIN u ON a = i GROUP BY c", {"join commuted", "comparison flipped"}),
    ("SELECT GROUP_CONCAT(b) FROM t WHERE a > 1", {"comparison flipped", "wrapped"}),
    ("SELECT ROW_NUMBER() OVER (ORDER BY b) FROM t WHERE a > 1", {"comparison flipped", "wrapped"}),
    ("SELECT * FROM t JOIN u ON t.a = u.i", {"join commuted"}),  # its columns would change places
    ("SELECT a FROM t NATURAL JOIN u", {"join commuted"}),
    ("SELECT a FROM t LEFT JOIN u ON t.a = u.i", {"join commuted"}),
    ("SELECT a FROM t WHERE a IN (SELECT i FROM u)", {"IN as OR"}),
    ("SELECT a FROM t WHERE b IN (a, c)", {"IN as OR"}),  # the columns' affinity counts in = but not in IN
    ("SELECT a FROM t ORDER BY a", {"wrapped", "set operation swapped"}),
    ("SELECT a - c + a FROM t", {"arithmetic commuted"}),
    ("SELECT a / 2 * c FROM t", {"arithmetic commuted"}),  # integers are divided first
    ("SELECT a FROM t EXCEPT SELECT i FROM u", {"set operation swapped", "UNION as DISTINCT"}),
    ("SELECT a FROM t UNION ALL SELECT i FROM u", {"UNION as DISTINCT"}),
    ("SELECT DISTINCT a + 1 FROM t", {"DISTINCT as GROUP BY"}),
    ("SELECT CAST(a AS DECIMAL(5, 2)) FROM t", {"rendering", "wrapped"}),  # sqlglot would write REAL
    ("SELECT a AS c, c AS a FROM t ORDER BY a", {"columns qualified"}),  # the alias is meant
    ("UPDATE t SET a = 1 WHERE b = 'x'", {"equals sign"}),  # SET a == 1 is no SQL
    ("CREATE TABLE z (a INT PRIMARY KEY)", {"type name"}),  # INTEGER would make it the row's number
    ("CREATE VIEW v AS SELECT a+1 FROM t WHERE a <> 1", {"rendering", "unequal sign", "comparison flipped"}),
    ("INSERT INTO u SELECT a, b FROM t WHERE a > 1", {"comparison flipped"}),
    ("SELECT t.a FROM t JOIN u ON t.a = u.i", {"comparison negated", "double negation"}),  # loses the index
    ("WITH g AS (SELECT a FROM t) SELECT x.a FROM g AS x, g AS y", {"CTE as derived table"}),
]


@pytest.mark.parametrize("reference, kinds", LEFT_ALONE)
def test_leaves_alone(reference, kinds):
    texts = rewrites(reference, SCHEMA)
    assert texts and not kinds & {rewrite.kind for rewrite in texts}


@pytest.mark.parametrize(
    "text", ["", ";", "no SQL", "SELECT 'open", "SELECT " + "(" * 3_000 + "1", "\x00", "x" * 30_000]
)
def test_odd_texts_do_not_raise(text):
    assert isinstance(rewrites(text, text), list)


def test_texts_are_new_and_few_of_a_kind():
    for example in load_examples("embedded", "test", limit=200):
        variants = rewrites(example.sql, example.schema)
        assert variants == rewrites(example.sql, example.schema)
        texts = [rewrite.sql for rewrite in variants]
        assert len(set(texts)) == len(texts) and example.sql not in texts
        kinds = [rewrite.kind for rewrite in variants]
        assert max(map(kinds.count, kinds)) <= MOST_OF_ONE_KIND


def rows_of(schema: str, sql: str) -> list:
    """What a query returns as a sorted list, or what the tables hold after a statement that returns nothing."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(schema)
    cursor = connection.execute(sql)
    if cursor.description is None:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for name in sorted(names) for row in connection.execute(f'SELECT * FROM "{name}"')]
    else:
        rows = cursor.fetchall()
    connection.close()
    return sorted(rows, key=repr)


ODD_ROWS = """INSERT INTO t VALUES (1, 'x', 1.0), (2, '2', 2.5), ('3', 'X', NULL), (NULL, NULL, 3), (1, 'x', 1.0),
(5, 'Rome', '5'), ('a', 1, 'b'), (3, x'78', -1);
INSERT INTO u VALUES (1, 'x'), ('1', '1'), (NULL, 'n'), (3, 2), (2, NULL);"""


@pytest.mark.parametrize("reference", dict.fromkeys([case[1] for case in CASES] + [case[0] for case in LEFT_ALONE]))
def test_the_same_on_odd_rows(reference):
    """Values of every class in every column, NULL, duplicates: plain SQLite, without the scorer's tolerance."""
    rows_before = rows_of(SCHEMA + ODD_ROWS, reference)
    for rewrite in rewrites(reference, SCHEMA):
        assert rows_of(SCHEMA + ODD_ROWS, rewrite.sql) == rows_before, rewrite


def test_gretel(shared_data):
    rows = [json.loads(line) for line in (shared_data / "gretel_sample.jsonl").open()]
    kinds = {rewrite.kind for row in rows for rewrite in rewrites(row["sql"], row["sql_context"])}
    assert len(kinds) >= 20
