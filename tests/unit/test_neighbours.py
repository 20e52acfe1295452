"""Near misses of a reference: what each operator makes, that the texts are new, and that nothing stops it."""

import json
import sqlite3

import pytest
import sqlglot

from common.data import load_examples
from common.mutations.neighbours import MOST_OF_ONE_OPERATOR, Neighbour, neighbours
from tests.cost import TRIES, cpu_seconds

CASES = [
    ("comparison", "SELECT a FROM t WHERE b > 3", "SELECT a FROM t WHERE b >= 3"),
    ("comparison", "SELECT a FROM t WHERE b > 3", "SELECT a FROM t WHERE b < 3"),
    ("comparison", "SELECT a FROM t WHERE b <= 3", "SELECT a FROM t WHERE b < 3"),
    ("comparison", "SELECT a FROM t WHERE b = 3", "SELECT a FROM t WHERE b <> 3"),
    ("comparison", "SELECT a FROM t WHERE b BETWEEN 1 AND 5", "SELECT a FROM t WHERE (b > 1 AND b <= 5)"),
    ("constant", "SELECT a FROM t WHERE b > 3", "SELECT a FROM t WHERE b > 2"),
    ("constant", "SELECT a FROM t WHERE b > 3", "SELECT a FROM t WHERE b > 4"),
    ("constant", "SELECT a FROM t WHERE b > 3", "SELECT a FROM t WHERE b > 6"),
    ("constant", "SELECT a FROM t WHERE b > 0.5", "SELECT a FROM t WHERE b > -0.5"),
    ("constant", "SELECT a FROM t WHERE b BETWEEN 1 AND 5", "SELECT a FROM t WHERE b BETWEEN 1 AND 6"),
    ("constant", "SELECT a FROM t WHERE b = 'x'", "SELECT a FROM t WHERE b = 'X'"),
    ("constant", 'SELECT a FROM t WHERE b = "Rome"', "SELECT a FROM t WHERE b = 'Romex'"),
    ("constant", "SELECT a FROM t WHERE b < '2010-01-01'", "SELECT a FROM t WHERE b < '2011-01-01'"),
    ("constant", "SELECT a FROM t WHERE b < '2010-01-01'", "SELECT a FROM t WHERE b < '2010-01-02'"),
    ("constant", "SELECT STRFTIME('%Y', d) FROM t", "SELECT STRFTIME('%m', d) FROM t"),
    ("pattern", "SELECT a FROM t WHERE b LIKE 'x%'", "SELECT a FROM t WHERE b LIKE '%x'"),
    ("pattern", "SELECT a FROM t WHERE b LIKE 'x%'", "SELECT a FROM t WHERE b LIKE '%x%'"),
    ("in list", "SELECT a FROM t WHERE b IN (1, 2)", "SELECT a FROM t WHERE b IN (2)"),
    ("limit", "SELECT a FROM t ORDER BY a LIMIT 2", "SELECT a FROM t ORDER BY a LIMIT 1"),
    ("limit", "SELECT a FROM t ORDER BY a LIMIT 1", "SELECT a FROM t ORDER BY a LIMIT 2"),
    ("limit", "SELECT a FROM t ORDER BY a LIMIT 1", "SELECT a FROM t ORDER BY a LIMIT 1 OFFSET 1"),
    ("limit", "SELECT a FROM t ORDER BY a LIMIT 1 OFFSET 1", "SELECT a FROM t ORDER BY a LIMIT 1 OFFSET 0"),
    ("aggregate", "SELECT SUM(a) FROM t", "SELECT AVG(a) FROM t"),
    ("aggregate", "SELECT MIN(a) FROM t", "SELECT MAX(a) FROM t"),
    ("aggregate", "SELECT a, COUNT(*) FROM t GROUP BY a", "SELECT a, COUNT(a) FROM t GROUP BY a"),
    ("aggregate", "SELECT COUNT(a) FROM t", "SELECT COUNT(*) FROM t"),
    ("distinct", "SELECT COUNT(DISTINCT a) FROM t", "SELECT COUNT(a) FROM t"),
    ("distinct", "SELECT SUM(a) FROM t", "SELECT SUM(DISTINCT a) FROM t"),
    ("distinct", "SELECT DISTINCT a FROM t", "SELECT a FROM t"),
    ("distinct", "SELECT a FROM t", "SELECT DISTINCT a FROM t"),
    ("conjunct", "SELECT a FROM t WHERE b > 3", "SELECT a FROM t"),
    ("conjunct", "SELECT a FROM t WHERE b > 3 AND c = 1", "SELECT a FROM t WHERE c = 1"),
    ("conjunct", "SELECT a FROM t GROUP BY a HAVING COUNT(*) > 1", "SELECT a FROM t GROUP BY a"),
    ("conjunct", "SELECT a FROM t JOIN u ON t.i = u.i AND u.x = 1", "SELECT a FROM t JOIN u ON t.i = u.i"),
    ("conjunct", "SELECT COUNT(*) FILTER(WHERE a > 1) FROM t", "SELECT COUNT(*) FROM t"),
    ("connective", "SELECT a FROM t WHERE b > 3 AND c = 1", "SELECT a FROM t WHERE b > 3 OR c = 1"),
    ("negation", "SELECT a FROM t WHERE NOT b IN (SELECT c FROM u)", "SELECT a FROM t WHERE b IN (SELECT c FROM u)"),
    ("negation", "SELECT a FROM t WHERE EXISTS(SELECT 1 FROM u)", "SELECT a FROM t WHERE NOT EXISTS(SELECT 1 FROM u)"),
    ("negation", "SELECT a FROM t WHERE b IS NULL", "SELECT a FROM t WHERE NOT b IS NULL"),
    ("join", "SELECT a FROM t JOIN u ON t.i = u.i", "SELECT a FROM t LEFT JOIN u ON t.i = u.i"),
    ("join", "SELECT a FROM t LEFT JOIN u ON t.i = u.i", "SELECT a FROM t JOIN u ON t.i = u.i"),
    ("order", "SELECT a FROM t ORDER BY a", "SELECT a FROM t ORDER BY a DESC"),
    ("order", "SELECT a FROM t ORDER BY a DESC LIMIT 1", "SELECT a FROM t ORDER BY a LIMIT 1"),
    ("order", "SELECT a FROM t ORDER BY a, b", "SELECT a FROM t ORDER BY a"),
    ("order", "SELECT a FROM t ORDER BY a, b", "SELECT a FROM t ORDER BY b, a"),
    ("order", "SELECT a FROM t ORDER BY a", "SELECT a FROM t"),
    ("group", "SELECT a FROM t GROUP BY a, b", "SELECT a FROM t GROUP BY b"),
    ("set operation", "SELECT a FROM t UNION SELECT a FROM u", "SELECT a FROM t UNION ALL SELECT a FROM u"),
    ("set operation", "SELECT a FROM t UNION ALL SELECT a FROM u", "SELECT a FROM t UNION SELECT a FROM u"),
    ("set operation", "SELECT a FROM t EXCEPT SELECT a FROM u", "SELECT a FROM u EXCEPT SELECT a FROM t"),
    ("set operation", "SELECT a FROM t EXCEPT SELECT a FROM u", "SELECT a FROM t INTERSECT SELECT a FROM u"),
    ("column", "SELECT a FROM t WHERE b > 3", "SELECT b FROM t WHERE b > 3"),
    ("column", "SELECT a FROM t WHERE b > 3", "SELECT a FROM t WHERE a > 3"),
    ("arithmetic", "SELECT a + b FROM t", "SELECT a - b FROM t"),
    ("arithmetic", "SELECT a * b FROM t", "SELECT a / b FROM t"),
    ("arithmetic", "SELECT a / b FROM t", "SELECT b / a FROM t"),
    ("function", "SELECT UPPER(a) FROM t", "SELECT LOWER(a) FROM t"),
    ("function", "SELECT ROUND(a, 2) FROM t", "SELECT a FROM t"),
    ("case", "SELECT CASE WHEN a > 1 THEN 'x' ELSE 'y' END FROM t", "SELECT CASE WHEN a > 1 THEN 'x' END FROM t"),
    ("case", "SELECT CASE WHEN a THEN 1 ELSE 2 END FROM t", "SELECT CASE WHEN a THEN 2 ELSE 1 END FROM t"),
    ("window", "SELECT RANK() OVER (ORDER BY a) FROM t", "SELECT DENSE_RANK() OVER (ORDER BY a) FROM t"),
    ("window", "SELECT SUM(a) OVER (PARTITION BY b) FROM t", "SELECT SUM(a) OVER () FROM t"),
    ("projection", "SELECT a, b FROM t", "SELECT b, a FROM t"),
    ("constant", "UPDATE t SET a = 1 WHERE b = 2", "UPDATE t SET a = 0 WHERE b = 2"),
    ("conjunct", "UPDATE t SET a = 1 WHERE b = 2", "UPDATE t SET a = 1"),
    ("assignment", "UPDATE t SET a = 1, b = 2", "UPDATE t SET a = 1"),
    ("conjunct", "DELETE FROM t WHERE b = 2", "DELETE FROM t"),
    ("constant", "INSERT INTO t (a) VALUES (1)", "INSERT INTO t (a) VALUES (2)"),
    ("column", "INSERT INTO t (a, b) VALUES (1, 2)", "INSERT INTO t (b, a) VALUES (1, 2)"),
    ("row", "INSERT INTO t VALUES (1), (2)", "INSERT INTO t VALUES (2)"),
    ("constant", "REPLACE INTO t VALUES (1)", "INSERT OR REPLACE INTO t VALUES (2)"),
    ("definition", "CREATE TABLE t (a INT, b TEXT)", "CREATE TABLE t (a TEXT, b TEXT)"),
    ("definition", "CREATE INDEX i ON t (a)", "CREATE UNIQUE INDEX i ON t(a)"),
    ("constant", "CREATE VIEW v AS SELECT a FROM t WHERE b > 3", "CREATE VIEW v AS SELECT a FROM t WHERE b > 4"),
    ("comparison", "DELETE FROM t; SELECT a FROM t WHERE b > 3", "DELETE FROM t; SELECT a FROM t WHERE b >= 3"),
    ("conjunct", "DELETE FROM t WHERE a = 1; SELECT 1", "DELETE FROM t; SELECT 1"),
]


@pytest.mark.parametrize("operator, reference, expected", CASES)
def test_makes(operator, reference, expected):
    assert Neighbour(operator, expected) in neighbours(reference)


def test_all_of_a_small_reference():
    """Worked out by hand: every change of one place, and no other."""
    assert neighbours("select a from t where b > 3 ;") == [
        Neighbour("distinct", "SELECT DISTINCT a FROM t WHERE b > 3"),
        Neighbour("column", "SELECT b FROM t WHERE b > 3"),
        Neighbour("conjunct", "SELECT a FROM t"),
        Neighbour("comparison", "SELECT a FROM t WHERE b >= 3"),
        Neighbour("comparison", "SELECT a FROM t WHERE b < 3"),
        Neighbour("column", "SELECT a FROM t WHERE a > 3"),
        Neighbour("constant", "SELECT a FROM t WHERE b > 4"),
        Neighbour("constant", "SELECT a FROM t WHERE b > 2"),
        Neighbour("constant", "SELECT a FROM t WHERE b > 6"),
    ]


@pytest.mark.parametrize(
    "reference",
    [
        "SELECT a FROM t GROUP BY 1 ORDER BY 1",  # an ordinal is no constant
        "UPDATE t SET a = b",  # nor an assignment a comparison
        "SELECT COUNT(1) FROM t",
    ],
)
def test_leaves_alone(reference):
    assert not {"constant", "comparison"} & {n.operator for n in neighbours(reference)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";",
        "-- nothing",
        "SELECT FROM WHERE",
        "SELECT 'open",
        "no SQL at all",
        "DROP TABLE t",
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM u; END",
        "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
        "SELECT 1" + " + 1" * 20_000,
        "\x00\ud800",
    ],
)
def test_what_cannot_be_parsed_has_none(text):
    assert neighbours(text) == []


@pytest.mark.parametrize("depth", [50, 300, 1_000, 4_000])
def test_depth_does_not_raise(depth):
    assert isinstance(neighbours("SELECT " + "(" * depth + "a > 1" + ")" * depth + " FROM t"), list)
    assert isinstance(neighbours("SELECT a FROM t WHERE " + " AND ".join(["a > 1"] * min(depth, 1_500))), list)


def test_a_long_list_does_not_make_hundreds():
    misses = neighbours("INSERT INTO t VALUES " + ", ".join(f"({n}, {n + 7})" for n in range(300)))
    assert 0 < len(misses) <= 2 * MOST_OF_ONE_OPERATOR


@pytest.fixture(scope="module")
def references() -> list[str]:
    return [example.sql for example in load_examples("embedded", "test", limit=400)]


def test_texts_are_new_distinct_and_the_same_each_time(references):
    for reference in references:
        misses = neighbours(reference)
        texts = [neighbour.sql for neighbour in misses]
        assert misses == neighbours(reference)
        assert len(set(texts)) == len(texts) and reference.rstrip(";") not in texts


def test_most_run(references):
    """On the schema they were made for: a change that SQLite refuses tells nobody anything."""
    runs = failures = 0
    for example in load_examples("embedded", "test", limit=150):
        for neighbour in neighbours(example.sql):
            connection = sqlite3.connect(":memory:")
            connection.executescript(example.schema)
            try:
                connection.executescript(neighbour.sql)
                runs += 1
            except sqlite3.Error:
                failures += 1
            connection.close()
    assert runs > 1_000 and failures / (runs + failures) < 0.08


def test_near_misses_cost_about_as_much_as_a_few_parses(references):
    neighbours(references[0])  # imports
    parsing = min(cpu_seconds(lambda: [sqlglot.parse(sql, dialect="sqlite") for sql in references]) for _ in range(3))
    # About four, for eleven near misses a reference: a copy of the tree for each would cost ten times as much.
    assert any(cpu_seconds(lambda: [neighbours(sql) for sql in references]) < 15 * parsing for _ in range(TRIES))


def test_spider_and_gretel(shared_data):
    spider = [json.loads(line)["sql"] for line in (shared_data / "spider" / "dev.jsonl").open()]
    gretel = [json.loads(line)["sql"] for line in (shared_data / "gretel_sample.jsonl").open()]
    assert len(spider) > 1_000 and all(neighbours(sql) for sql in spider)
    assert all(neighbours(sql) for sql in gretel)
