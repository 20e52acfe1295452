"""Answers and what each evaluator makes of them, worked out by hand."""

# ruff: noqa: E501 - a table of cases reads best with one case a line

from typing import NamedTuple

# a, b, c: 1 x 1.5 · 2 y NULL · 2 z 3.0 · 3 x NULL
SCHEMA = "CREATE TABLE t (a INT, b TEXT, c REAL); INSERT INTO t VALUES (1, 'x', 1.5), (2, 'y', NULL), (2, 'z', 3.0), (3, 'x', NULL);"


class Case(NamedTuple):
    """right: the evaluators that accept, by a letter each: s strict, p published, b bag, e set, c clauses, t text."""

    name: str
    reference: str
    completion: str
    right: str
    relation: str
    order: str = "-"


ONE = "SELECT b FROM t WHERE a = 1"
CASES = [
    Case("case and semicolon", ONE, "select B from T where a=1 ;", "spbect", "="),
    Case("a comment", ONE, ONE + " -- the first\n;", "spbect", "="),
    Case("a fence", ONE, f"```sql\n{ONE}\n```", "sbect", "="),
    Case("prose", ONE, f"Here is the query:\n\n```\n{ONE};\n```\nIt returns the names.", "sbect", "="),
    Case("an alias", ONE, "SELECT x.b AS name FROM t AS x WHERE x.a = 1", "spbec", "="),
    Case("a literal in other case", "SELECT a FROM t WHERE b = 'x'", "SELECT a FROM t WHERE b = 'X'", "", "x"),
    Case("duplicates", "SELECT DISTINCT a FROM t", "SELECT a FROM t", "e", "d"),
    Case("duplicates left out", "SELECT b FROM t", "SELECT DISTINCT b FROM t", "e", "d"),
    Case("an order that is asked for", "SELECT a, b FROM t ORDER BY b, a", "SELECT a, b FROM t ORDER BY b, a DESC", "e", "o", "o"),
    Case("an order that is not", "SELECT b FROM t WHERE a >= 2", "SELECT b FROM t WHERE a >= 2 ORDER BY b DESC", "sbe", "o"),
    Case("rows that tie", "SELECT b FROM t ORDER BY a", "SELECT b FROM t ORDER BY a, b DESC", "se", "o", "o"),
    Case("an order in a subquery", "SELECT b FROM (SELECT b FROM t ORDER BY a LIMIT 3)", "SELECT b FROM t WHERE a < 3 ORDER BY b DESC", "se", "o", "i"),
    Case("an order in a window", "SELECT b, ROW_NUMBER() OVER (ORDER BY a, b) FROM t", "SELECT b, ROW_NUMBER() OVER (ORDER BY a, b) AS n FROM t ORDER BY n DESC", "se", "o", "i"),
    Case("columns", "SELECT a, b FROM t", "SELECT b, a FROM t", "b", "c"),
    Case("columns and rows", "SELECT a, b FROM t", "SELECT b, a FROM t ORDER BY b DESC, a", "b", "p"),
    Case("columns in the order that is asked for", "SELECT a, b FROM t ORDER BY a, b", "SELECT b, a FROM t ORDER BY a, b", "b", "c", "o"),
    Case("columns in another order than that", "SELECT a, b FROM t ORDER BY a, b", "SELECT b, a FROM t ORDER BY a DESC, b", "", "p", "o"),
    Case("one column more", "SELECT a FROM t", "SELECT a, b FROM t", "", "x"),
    Case("an integer and a float", "SELECT COUNT(*) FROM t", "SELECT SUM(1.0) FROM t", "spbe", "="),
    Case("the last digits", "SELECT 0.3", "SELECT 0.1 + 0.2", "s", "~"),
    Case("a number and a text", "SELECT 3", "SELECT '3'", "", "x"),
    Case("NULL and NULL", "SELECT c FROM t WHERE a = 3", "SELECT NULL", "spbe", "="),
    Case("NULL and an empty text", "SELECT c FROM t WHERE a = 3", "SELECT ''", "", "x"),
    Case("no rows", "SELECT a FROM t WHERE a > 9", "SELECT a FROM t WHERE a > 8", "spbe", "="),
    Case("no rows of other columns", "SELECT a FROM t WHERE a > 9", "SELECT a, b FROM t WHERE a > 9", "pbe", "0"),
    Case("an unknown column", ONE, "SELECT name FROM t WHERE a = 1", "", "!"),
    Case("nothing", ONE, "", "", "!"),
    Case("the same insertion", "INSERT INTO t VALUES (9, 'n', 0)", "INSERT INTO t VALUES (9, 'n', 0)", "spbect", "w"),
    Case("another insertion", "INSERT INTO t VALUES (9, 'n', 0)", "INSERT INTO t VALUES (8, 'n', 0)", "p", "w"),
    Case("another deletion", "DELETE FROM t WHERE a = 1", "DELETE FROM t WHERE a = 2", "p", "w"),
    Case("the same deletion in other words", "DELETE FROM t WHERE a = 1", "DELETE FROM t WHERE c = 1.5", "spbe", "w"),
    Case("a deletion for a query", "SELECT a FROM t WHERE a > 9", "DELETE FROM t", "p", "w"),
    Case("a query for a deletion", "DELETE FROM t WHERE a = 1", "SELECT a FROM t WHERE a > 9", "p", "w"),
    Case("a table that the reference has created before", "CREATE TABLE u (a INT)", "CREATE TABLE u (a INT)", "sbect", "w"),
    Case("one statement more", ONE, f"{ONE}; SELECT 2", "", "!"),
    Case("as many statements", "SELECT 1; SELECT 2", "SELECT 1; SELECT 2;", "sbect", "="),
    Case("the same statements the other way round", "SELECT 1; SELECT 2", "SELECT 2; SELECT 1", "c", "x"),
    Case("the frozen clock", "SELECT date('now')", "SELECT '2024-01-15'", "sbe", "="),
    Case("a reference that fails", "SELECT name FROM t", ONE, "", "?"),
]  # fmt: skip
