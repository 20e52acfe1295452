"""Hostile and edge inputs, each through `score` and `score_batch`: one exact outcome, in bounded time, nothing raised.

Covered: what a prediction, a reference or a schema can do to the scorer, each policy point at its edges, and which of
SQLite's errors gets which name. Cases that tests/unit/test_scoring.py has are not repeated here. Not covered: the
processes themselves (test_sandbox.py) and text that is not SQL at all (test_scoring_properties.py).
"""

# ruff: noqa: E501 - a table of cases reads best with one case a line

import time
from dataclasses import dataclass

import pytest

from common.scoring import Scorer, Verdict

STAFF = """
CREATE TABLE staff (id INTEGER PRIMARY KEY, name TEXT, team TEXT, pay REAL);
INSERT INTO staff VALUES (1, 'Ann', 'red', 10.0), (2, 'Bob', 'red', 20.0), (3, 'Cy', 'blue', 20.0), (4, 'Di', NULL, NULL);
CREATE TABLE item (code TEXT, n INT, CHECK (n < 1000));
INSERT INTO item VALUES ('a', 1), ('a', 1), ('b', 2);
"""
PATIENCE = 30.0  # seconds for one row; the promise is 3 on a machine that does nothing else
ALL = "SELECT name FROM staff"
GONE = "DELETE FROM item WHERE n = 2"
NOTHING = "DELETE FROM item WHERE 0"
LETTERS = "CREATE TABLE t (a TEXT COLLATE NOCASE, b TEXT); INSERT INTO t VALUES ('a', 'x'), ('A', 'x '), ('b', 'y');"
COUNTER = "CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO t VALUES (1);"
RECURSING = "CREATE TABLE a (x); INSERT INTO a VALUES (1); CREATE TRIGGER g AFTER DELETE ON a BEGIN INSERT INTO a VALUES (1); DELETE FROM a; END;"
UNSCORABLE = ("reference_error", "reference_nondeterministic", "schema_invalid")


def count_to(n: int) -> str:
    return f"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT {n}) "


def long(n: int) -> str:
    return f"printf('%.*c', {n}, 'x')"


@dataclass(frozen=True)
class Case:
    name: str
    reference: str
    prediction: str
    outcome: str
    schema: str = STAFF
    both_empty: bool | None = None  # None: not looked at

    @property
    def match(self) -> bool | None:
        return None if self.outcome in UNSCORABLE else self.outcome == "match"


def cases(*rows: tuple) -> list[Case]:
    return [Case(*row) for row in rows]


TWENTY = "SELECT name, pay FROM staff WHERE pay = 20"  # Bob and Cy, who tie by pay
UPSIDE_DOWN = TWENTY + " ORDER BY id DESC"
PAID = "SELECT name, pay FROM staff WHERE id < 3"  # Ann 10 and Bob 20, who do not
ORDER = cases(
    ("DISTINCT, key in another case", "SELECT DISTINCT Team, name FROM staff WHERE id < 3 ORDER BY team", "SELECT team, name FROM staff WHERE id < 3 ORDER BY id DESC", "match"),
    ("DISTINCT, column qualified", "SELECT DISTINCT s.team, name FROM staff s WHERE id < 3 ORDER BY team", "SELECT team, name FROM staff WHERE id < 3 ORDER BY id DESC", "match"),
    ("DISTINCT, key qualified", "SELECT DISTINCT team, name FROM staff s WHERE id < 3 ORDER BY s.team", "SELECT team, name FROM staff WHERE id < 3 ORDER BY id DESC", "match"),
    ("DISTINCT, key in quotes", 'SELECT DISTINCT team, name FROM staff WHERE id < 3 ORDER BY "Team"', "SELECT team, name FROM staff WHERE id < 3 ORDER BY id DESC", "match"),
    ("DISTINCT, expression of a column", TWENTY.replace("SELECT", "SELECT DISTINCT") + " ORDER BY pay * 2", UPSIDE_DOWN, "match"),
    ("DISTINCT, expression that does not tie", PAID.replace("SELECT", "SELECT DISTINCT") + " ORDER BY pay * 2", PAID + " ORDER BY pay DESC", "mismatch"),
    ("DISTINCT, IS NULL and the column", "SELECT DISTINCT name, pay FROM staff WHERE id > 1 ORDER BY pay IS NULL, pay", "SELECT name, pay FROM staff WHERE id > 1 ORDER BY pay IS NULL, id DESC", "match"),
    ("DISTINCT, function of a column", "SELECT DISTINCT name, team FROM staff WHERE id < 3 ORDER BY length(team)", "SELECT name, team FROM staff WHERE id < 3 ORDER BY id DESC", "match"),
    ("DISTINCT, CASE over a column", TWENTY.replace("SELECT", "SELECT DISTINCT") + " ORDER BY CASE WHEN pay > 15 THEN 'a' ELSE 'b' END", UPSIDE_DOWN, "match"),
    ("DISTINCT, an alias that hides a column", "SELECT DISTINCT name, -id AS id FROM staff WHERE id < 3 ORDER BY id", "SELECT name, -id FROM staff WHERE id < 3 ORDER BY id", "mismatch"),
    ("DISTINCT, key that is not shown: plain sequence", "SELECT DISTINCT name FROM staff WHERE pay = 20 ORDER BY pay", "SELECT name FROM staff WHERE pay = 20 ORDER BY id DESC", "mismatch"),
    ("DISTINCT *", "SELECT DISTINCT * FROM staff WHERE pay = 20 ORDER BY pay", "SELECT * FROM staff WHERE pay = 20 ORDER BY id DESC", "match"),
    ("DISTINCT with LIMIT, the other of a tie", "SELECT DISTINCT name, pay FROM staff ORDER BY pay DESC LIMIT 1", "SELECT 'Cy', 20.0", "match"),
    ("DISTINCT with LIMIT, neither", "SELECT DISTINCT name, pay FROM staff ORDER BY pay DESC LIMIT 1", "SELECT 'Ann', 10.0", "mismatch"),
    ("quoted alias inside an expression is no string", 'SELECT name, pay * 2 AS "p" FROM staff WHERE id < 3 ORDER BY "p" + 1', "SELECT name, pay * 2 FROM staff WHERE id < 3 ORDER BY pay DESC", "mismatch"),
    ("quoted alias with a space", 'SELECT name, pay * 2 AS "p x" FROM staff WHERE id < 3 ORDER BY abs("p x")', "SELECT name, pay * 2 FROM staff WHERE id < 3 ORDER BY pay DESC", "mismatch"),
    ("quoted alias with a space, ties", 'SELECT name, pay AS "p x" FROM staff WHERE pay = 20 ORDER BY abs("p x")', UPSIDE_DOWN, "match"),
    ("alias in single quotes, key without", "SELECT name, pay AS 'p' FROM staff WHERE id < 3 ORDER BY p", PAID + " ORDER BY id DESC", "mismatch"),
    ("a string as key", "SELECT name, pay AS p FROM staff WHERE id < 3 ORDER BY 'p'", PAID + " ORDER BY id DESC", "match"),
    ("alias without AS", "SELECT name n, pay p FROM staff WHERE pay = 20 ORDER BY p", UPSIDE_DOWN, "match"),
    ("alias that hides a column, alone", "SELECT name, -id AS id FROM staff ORDER BY id", "SELECT name, -id FROM staff ORDER BY 2 DESC", "mismatch"),
    ("alias that hides a column, in an expression", "SELECT name, -id AS id FROM staff ORDER BY id + 0", "SELECT name, -id FROM staff ORDER BY staff.id", "match"),
    ("alias that hides a column, the other way", "SELECT name, -id AS id FROM staff ORDER BY id + 0", "SELECT name, -id FROM staff ORDER BY staff.id DESC", "mismatch"),
    ("alias that hides a column, which ties", "SELECT name, id AS pay FROM staff WHERE pay = 20 ORDER BY pay + 0", "VALUES ('Cy', 3), ('Bob', 2)", "match"),
    ("alias that a query inside hides", "SELECT name, 5 AS n FROM staff WHERE id < 3 ORDER BY (SELECT count(*) FROM item WHERE n < staff.id)", "VALUES ('Bob', 5), ('Ann', 5)", "mismatch"),
    ("aliases like our own", "SELECT name AS c2, pay AS c1 FROM staff WHERE pay = 20 ORDER BY c1", UPSIDE_DOWN, "match"),
    ("a table like our own", "WITH ranked_rows_ AS (SELECT * FROM staff WHERE pay = 20) SELECT name, pay FROM ranked_rows_ ORDER BY pay", UPSIDE_DOWN, "match"),
    ("ordinals", "SELECT team, max(pay) FROM staff WHERE team IS NOT NULL GROUP BY 1 ORDER BY 2, 1", "SELECT 'red', 20 UNION ALL SELECT 'blue', 20", "mismatch"),
    ("ordinal with ties", "SELECT team, max(pay) FROM staff WHERE team IS NOT NULL GROUP BY 1 ORDER BY 2", "SELECT 'red', 20 UNION ALL SELECT 'blue', 20", "match"),
    ("ordinal in parentheses", TWENTY + " ORDER BY (2)", UPSIDE_DOWN, "match"),
    ("ordinal in parentheses, no tie", PAID + " ORDER BY (2)", PAID + " ORDER BY 2 DESC", "mismatch"),
    ("ordinal with a plus", PAID + " ORDER BY +2", PAID + " ORDER BY 2 DESC", "mismatch"),
    ("a sum is no ordinal", PAID + " ORDER BY 1 + 1", PAID + " ORDER BY 2 DESC", "match"),
    ("a fraction is no ordinal", PAID + " ORDER BY 2.0", PAID + " ORDER BY 2 DESC", "match"),
    ("ordinal out of range", PAID + " ORDER BY 3", PAID, "reference_error"),
    ("ordinal below zero", PAID + " ORDER BY -1", PAID, "reference_error"),
    ("OFFSET by a sum", "SELECT name FROM staff ORDER BY pay DESC LIMIT 1 OFFSET 0 + 1", "SELECT 'Bob'", "match"),
    ("OFFSET by a query", "SELECT name FROM staff ORDER BY pay DESC LIMIT (SELECT 1) OFFSET (SELECT 1)", "SELECT 'Bob'", "match"),
    ("OFFSET by a query of the WITH", "WITH k(n) AS (SELECT 1) SELECT name FROM staff ORDER BY pay DESC LIMIT 1 OFFSET (SELECT n FROM k)", "SELECT 'Bob'", "match"),
    ("OFFSET below zero", "SELECT name FROM staff ORDER BY pay DESC LIMIT 1 OFFSET -1", "SELECT 'Cy'", "match"),
    ("OFFSET beyond the end", "SELECT name FROM staff ORDER BY pay LIMIT -1 OFFSET 10", "SELECT 1 WHERE 0", "match", STAFF, True),
    ("LIMIT by a sum", "SELECT name FROM staff ORDER BY pay DESC LIMIT 1 + 0", "SELECT 'Cy'", "match"),
    ("LIMIT below zero", "SELECT name FROM staff ORDER BY pay DESC LIMIT -1", "SELECT name FROM staff ORDER BY pay DESC, id DESC", "match"),
    ("LIMIT below zero with OFFSET", "SELECT name FROM staff ORDER BY pay DESC LIMIT -1 OFFSET 1", "VALUES ('Bob'), ('Ann'), ('Di')", "match"),
    ("LIMIT 0", "SELECT name FROM staff ORDER BY pay LIMIT 0", "SELECT 1 WHERE 0", "match", STAFF, True),
    ("LIMIT without ORDER BY, another row", "SELECT name FROM staff LIMIT 1", "SELECT 'Bob'", "mismatch"),
    ("LIMIT inside, ORDER BY outside", "SELECT name FROM (SELECT * FROM staff ORDER BY pay DESC LIMIT 2) ORDER BY name", "VALUES ('Cy'), ('Bob')", "mismatch"),
    ("NULLS LAST, ties", "SELECT name FROM staff ORDER BY pay NULLS LAST", "SELECT name FROM staff ORDER BY pay IS NULL, pay, id DESC", "match"),
    ("NULLS LAST against the default", "SELECT name FROM staff ORDER BY pay NULLS LAST", "SELECT name FROM staff ORDER BY pay", "mismatch"),
    ("DESC NULLS FIRST", "SELECT name FROM staff ORDER BY pay DESC NULLS FIRST", "VALUES ('Di'), ('Cy'), ('Bob'), ('Ann')", "match"),
    ("compound, alias of the second SELECT", "SELECT name, pay FROM staff WHERE id = 2 UNION SELECT name, pay AS x FROM staff WHERE id = 3 ORDER BY x", UPSIDE_DOWN, "match"),
    ("compound, qualified key", "SELECT s.name, s.pay FROM staff s WHERE id = 2 UNION SELECT name, pay FROM staff WHERE id = 3 ORDER BY s.pay", UPSIDE_DOWN, "match"),
    ("compound, an expression of a column", "SELECT name, pay * 1 FROM staff WHERE id = 2 UNION ALL SELECT name, pay FROM staff WHERE id = 3 ORDER BY pay * 1", UPSIDE_DOWN, "match"),
    ("compound of *", "SELECT * FROM staff WHERE id = 2 UNION ALL SELECT * FROM staff WHERE id = 3 ORDER BY pay", "SELECT * FROM staff WHERE pay = 20 ORDER BY id DESC", "match"),
    ("compound with LIMIT, the other of a tie", "SELECT name, pay FROM staff EXCEPT SELECT name, pay FROM staff WHERE id = 1 ORDER BY pay DESC LIMIT 1", "SELECT 'Cy', 20", "match"),
    ("compound, by every column", "SELECT name FROM staff WHERE id < 3 UNION SELECT name FROM staff ORDER BY name", "SELECT name FROM staff ORDER BY id DESC", "mismatch"),
    ("key from a CTE", "WITH s AS (SELECT * FROM staff WHERE pay = 20 ORDER BY id) SELECT name, pay FROM s ORDER BY pay", UPSIDE_DOWN, "match"),
    ("ORDER BY in a CTE only", "WITH s AS (SELECT * FROM staff ORDER BY id) SELECT name FROM s", "SELECT name FROM staff ORDER BY id DESC", "match"),
    ("ORDER BY in a window only", "SELECT name, sum(1) OVER (ORDER BY id) FROM staff", "SELECT name, id FROM staff ORDER BY id DESC", "match"),
    ("ORDER BY in group_concat's query only", "SELECT group_concat(name, ' order by ') FROM (SELECT name FROM staff ORDER BY id)", "SELECT 'Ann order by Bob order by Cy order by Di'", "match"),
    ("key is a window function", TWENTY + " ORDER BY rank() OVER (ORDER BY pay)", UPSIDE_DOWN, "match"),
    ("key is a named window's function", "SELECT name, rank() OVER w AS r FROM staff WHERE pay = 20 WINDOW w AS (ORDER BY pay) ORDER BY r", "VALUES ('Cy', 1), ('Bob', 1)", "match"),
    ("key is row_number", TWENTY + " ORDER BY row_number() OVER (ORDER BY id)", UPSIDE_DOWN, "mismatch"),
    ("key is an aggregate that is not shown", "SELECT team FROM staff WHERE team IS NOT NULL GROUP BY team ORDER BY count(*)", "VALUES ('red'), ('blue')", "mismatch"),
    ("key is an aggregate with ties", "SELECT team FROM staff WHERE pay = 20 GROUP BY team ORDER BY count(*)", "VALUES ('red'), ('blue')", "match"),
    ("key is a query", TWENTY + " ORDER BY (SELECT count(*) FROM item WHERE n < staff.pay)", UPSIDE_DOWN, "match"),
    ("key is a comparison", "SELECT name FROM staff ORDER BY pay > 15 DESC LIMIT 1", "SELECT 'Cy'", "match"),
    ("key with IS DISTINCT FROM", "SELECT name, pay IS DISTINCT FROM 1 AS d FROM staff WHERE pay = 20 ORDER BY d", "VALUES ('Cy', 1), ('Bob', 1)", "match"),
    ("a comment before every part", "SELECT name -- , x\n, pay -- FROM y\nFROM staff -- z\nWHERE pay = 20 -- ORDER BY 1\nORDER BY -- id\n pay -- LIMIT 1", UPSIDE_DOWN, "match"),
    ("rows that are all equal", "SELECT 1 FROM staff ORDER BY id", "SELECT 1 FROM staff ORDER BY id DESC", "match"),
    ("ORDER BY a column of its own collation", "SELECT a FROM t ORDER BY a", "VALUES ('A'), ('a'), ('b')", "match", LETTERS),
    ("ORDER BY ... COLLATE BINARY", "SELECT a FROM t ORDER BY a COLLATE BINARY", "VALUES ('a'), ('A'), ('b')", "mismatch", LETTERS),
    ("ORDER BY ... COLLATE RTRIM", "SELECT b FROM t WHERE b < 'y' ORDER BY b COLLATE RTRIM", "VALUES ('x '), ('x')", "match", LETTERS),
    ("collation of the column shown", "SELECT b COLLATE RTRIM AS z FROM t WHERE b < 'y' ORDER BY z", "VALUES ('x '), ('x')", "match", LETTERS),
    ("collation across a compound", "SELECT a FROM t UNION ALL SELECT 'c' ORDER BY 1", "VALUES ('A'), ('a'), ('b'), ('c')", "match", LETTERS),
    ('HAVING by an alias', 'SELECT count(*) c, team FROM staff GROUP BY team HAVING c > 0 ORDER BY c DESC, team', 'SELECT count(*), team FROM staff GROUP BY team ORDER BY 1 DESC, 2', 'match'),
    ('a part of a compound with ORDER BY of its own', 'SELECT name FROM staff WHERE id=1 UNION ALL SELECT * FROM (SELECT name FROM staff ORDER BY id DESC)', "SELECT name FROM staff UNION ALL SELECT 'Ann'", 'match'),
    ("key is a CASE's alias", "SELECT name, CASE WHEN pay > 15 THEN 'hi' WHEN pay <= 15 THEN 'lo' END AS k FROM staff ORDER BY k", "SELECT name, CASE WHEN pay > 15 THEN 'hi' WHEN pay <= 15 THEN 'lo' END AS k FROM staff ORDER BY k, id DESC", 'match'),
    ("key with the schema's name", 'SELECT name, pay FROM staff ORDER BY main.staff.pay', 'SELECT name, pay FROM staff ORDER BY pay, id DESC', 'match'),
    ('backticks and NULLS FIRST', 'SELECT name, pay FROM staff ORDER BY `pay` ASC NULLS FIRST', 'SELECT name, pay FROM staff ORDER BY pay, id DESC', 'match'),
    ('the same key twice', 'SELECT name, pay FROM staff ORDER BY pay ASC, pay DESC', 'SELECT name, pay FROM staff ORDER BY pay, id DESC', 'match'),
    ('names that are keywords', 'SELECT name AS \'order\', pay \'limit\' FROM staff WHERE pay=20 ORDER BY "limit" LIMIT 5', 'SELECT name, pay FROM staff WHERE pay=20 ORDER BY id DESC', 'match'),
    ('ORDER BY in a recursive CTE only', 'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c ORDER BY 1 LIMIT 5) SELECT x FROM c', 'VALUES (5),(4),(3),(2),(1)', 'match'),
    ('three tables in WITH', 'WITH a AS (SELECT 1 x), b AS MATERIALIZED (SELECT 2 x) SELECT x, 0 z FROM a UNION ALL SELECT x, 0 FROM b ORDER BY z', 'VALUES (2,0),(1,0)', 'match'),
    ('rowid as key', 'SELECT id FROM staff ORDER BY rowid', 'SELECT id FROM staff ORDER BY id DESC', 'mismatch'),
    ('columns of VALUES', "SELECT * FROM (VALUES (1,'a'),(1,'b')) ORDER BY column1", "VALUES (1,'b'),(1,'a')", 'match'),
    ('compound that begins with VALUES', 'VALUES (2),(2) UNION ALL SELECT 1 ORDER BY 1', 'VALUES (1),(2),(2)', 'match'),
    ('alias in another case than its column', "SELECT name || '' AS Name FROM staff WHERE pay = 20 ORDER BY NAME", 'SELECT name FROM staff WHERE pay=20 ORDER BY id DESC', 'mismatch'),
    ('key is a query with the outer row', 'SELECT name FROM staff s ORDER BY (SELECT max(pay) FROM staff t WHERE t.team = s.team) DESC LIMIT 2', "SELECT 'Cy' UNION ALL SELECT 'Ann'", 'match'),
    ('a string as the only key', "SELECT name FROM staff ORDER BY 'x'", 'SELECT name FROM staff ORDER BY id DESC', 'match'),
    ('the clock as key', "SELECT name FROM staff ORDER BY date('now')", 'SELECT name FROM staff ORDER BY id DESC', 'match'),
    ('a comment that is not closed behind the key', 'SELECT name FROM staff ORDER BY pay /* x', 'SELECT name FROM staff ORDER BY pay, id DESC', 'match'),
    ('comments around WITH', '/* a */ WITH x AS (SELECT 1) -- b\nSELECT name FROM staff ORDER BY pay', 'SELECT name FROM staff ORDER BY pay, id DESC', 'match'),
    ('NATURAL JOIN', 'SELECT a.name FROM staff a NATURAL JOIN staff b ORDER BY pay', 'SELECT name FROM staff WHERE pay IS NOT NULL AND team IS NOT NULL ORDER BY pay, id DESC', 'match'),
    ('key with an arrow', "SELECT name FROM staff ORDER BY pay->>'$'", 'SELECT name FROM staff ORDER BY pay, id DESC', 'match'),
    ('double-quoted string in a key', 'SELECT name FROM staff ORDER BY pay = 20.0 AND team = "red" DESC LIMIT 1', "SELECT 'Bob'", 'match'),
    ('DISTINCT, double-quoted string in a key', 'SELECT DISTINCT name, team FROM staff WHERE id < 4 ORDER BY team = "red"', "VALUES ('Cy','blue'),('Bob','red'),('Ann','red')", 'match'),
    ('DISTINCT, double-quoted string in a key, no tie', 'SELECT DISTINCT name, team FROM staff WHERE id < 4 ORDER BY team = "red"', "VALUES ('Bob','red'),('Cy','blue'),('Ann','red')", 'mismatch'),
    ('DISTINCT, expression of a column that is not shown', 'SELECT DISTINCT name, team FROM staff WHERE id < 4 ORDER BY pay = 20', "VALUES ('Ann','red'),('Cy','blue'),('Bob','red')", 'mismatch'),
    ('two stars', 'SELECT t.*, u.* FROM item t, item u WHERE t.n=2 ORDER BY u.n', "VALUES ('b',2,'a',1),('b',2,'a',1),('b',2,'b',2)", 'match'),
    ('an alias between two stars: plain sequence', 'SELECT t.*, 1 AS k, u.* FROM item t, item u WHERE t.n=2 ORDER BY k', 'SELECT t.*, 1 AS k, u.* FROM item t, item u WHERE t.n=2 ORDER BY u.n DESC', 'mismatch'),
    ("ORDER BY random() * 0", "SELECT name FROM staff ORDER BY random() * 0 LIMIT 1", "SELECT 'Cy'", "match"),
    ("ORDER BY random() over equal rows", "SELECT 1 FROM staff ORDER BY random()", "SELECT 1 FROM staff", "match"),
    ("ORDER BY random()", "SELECT a.id, b.id FROM staff a, staff b ORDER BY random()", ALL, "reference_nondeterministic"),
    ("a reference that a SQL parser in Python takes ages for", "SELECT " + "date(" * 25 + "'2020-01-01'" + ")" * 25 + ", name FROM staff WHERE pay = 20 ORDER BY pay", "VALUES ('2020-01-01', 'Cy'), ('2020-01-01', 'Bob')", "match"),
    ("a reference of 18,000 characters", "SELECT name, pay FROM staff WHERE pay = 20 AND id IN (" + ", ".join(map(str, range(3200))) + ") ORDER BY pay", UPSIDE_DOWN, "match"),
)  # fmt: skip
VALUES = cases(
    ("infinity", "SELECT 9e999", "SELECT 1e308 * 10", "match"),
    ("infinity's sign", "SELECT 9e999", "SELECT -9e999", "mismatch"),
    ("infinity and the largest", "SELECT 9e999", "SELECT 1.7976931348623157e308", "mismatch"),
    ("what is no number is NULL", "SELECT NULL", "SELECT 9e999 - 9e999", "match"),
    ("minus zero", "SELECT 0.0", "SELECT -0.0", "match"),
    ("the smallest float is zero", "SELECT 0", "SELECT 5e-324", "match"),
    ("the largest integer and one less", "SELECT 9223372036854775807", "SELECT 9223372036854775806", "mismatch"),
    ("an integer that is too large is a float", "SELECT 9223372036854775807", "SELECT 9223372036854775808", "match"),
    ("2^53 + 1 as a float", "SELECT 9007199254740993", "SELECT 9007199254740993.0", "match"),
    ("2^53 in a bag", "SELECT 9007199254740993 UNION ALL SELECT 9007199254740992", "SELECT 9007199254740992 UNION ALL SELECT 9007199254740992", "mismatch"),
    ("a sum in another order", "SELECT 1e16 + 1.0 - 1e16", "SELECT 0.0", "match"),
    ("average by hand", "SELECT avg(pay) FROM staff", "SELECT 50.0 / 3", "match"),
    ("whole-number division", "SELECT avg(pay) FROM staff", "SELECT 50 / 3", "mismatch"),
    ("rounded too far", "SELECT avg(pay) FROM staff", "SELECT round(avg(pay), 2) FROM staff", "mismatch"),
    ("division by zero is NULL", "SELECT NULL", "SELECT 1 / 0, 1 LIMIT 0 OFFSET 1", "mismatch"),
    ("true is 1", "SELECT 1", "SELECT true", "match"),
    ("a blob of no bytes is not empty text", "SELECT ''", "SELECT x''", "mismatch"),
    ("text with a NUL inside", "SELECT 'a' || char(0) || 'b'", "SELECT 'a' || char(0) || 'c'", "mismatch"),
    ("a space at the end counts", "SELECT 'a'", "SELECT 'a '", "mismatch"),
    ("accents in another form", "SELECT 'é'", "SELECT 'e' || char(769)", "mismatch"),
    ("a lone surrogate as bytes", "SELECT CAST(x'eda080' AS TEXT)", "SELECT CAST(x'eda080' AS TEXT)", "match"),
    ("a number as text in a bag", "SELECT 1 UNION ALL SELECT 2", "SELECT '1' UNION ALL SELECT 2", "mismatch"),
    ("a column swapped with its like", "SELECT id, id + 1 FROM staff", "SELECT id + 1, id FROM staff", "mismatch"),
    ("no rows, one NULL row", "SELECT name FROM staff WHERE 0", "SELECT NULL", "mismatch"),
    ("an aggregate of nothing is a row", "SELECT sum(pay) FROM staff WHERE 0", "SELECT NULL", "match", STAFF, False),
    ("an empty schema's catalogue", "SELECT count(*) FROM sqlite_master", "SELECT 0", "match", ""),
    ("the catalogue may be read", "SELECT name FROM sqlite_master WHERE type = 'table'", "SELECT 'item' UNION SELECT 'staff'", "match"),
)  # fmt: skip
CLOCK = cases(
    ("the clock through a blob", "SELECT '2024-01-15'", "SELECT date(x'6e6f77')", "match"),
    ("the clock through a cast", "SELECT '12:00:00'", "SELECT time(CAST('NOW' AS BLOB))", "match"),
    ("the clock through a NUL", "SELECT '2024-01-15'", "SELECT date('now' || char(0) || 'x')", "match"),
    ("the clock as format argument", "SELECT '2024'", "SELECT strftime('%Y', x'4e4f57')", "match"),
    ("the clock in local time", "SELECT '2024-01-15 12:00:00'", "SELECT datetime('now', 'localtime')", "match"),
    ("the clock in seconds", "SELECT 1705320000", "SELECT strftime('%s', 'now') + 0", "match"),
    ("what is not quite now", "SELECT NULL", "SELECT date(' now')", "match"),
    ("the clock in a reference's view", "CREATE VIEW v AS SELECT date('now') AS d", "CREATE VIEW v AS SELECT '2024-01-15' AS d", "match"),
    ("a default by the clock is no constant", "CREATE TABLE t (a TEXT DEFAULT CURRENT_TIMESTAMP)", "CREATE TABLE t (a TEXT DEFAULT '2024-01-15 12:00:00')", "mismatch"),
)  # fmt: skip
TABLES = cases(
    ("default in double quotes", "CREATE TABLE t (a TEXT DEFAULT 'x')", 'CREATE TABLE t (a TEXT DEFAULT "x")', "match"),
    ("default NULL is none", "CREATE TABLE t (a TEXT DEFAULT NULL)", "CREATE TABLE t (a TEXT)", "match"),
    ("default TRUE is 1", "CREATE TABLE t (a BOOLEAN DEFAULT TRUE)", "CREATE TABLE t (a BOOLEAN DEFAULT 1)", "match"),
    ("default in parentheses, with a plus", "CREATE TABLE t (a INT DEFAULT (1))", "CREATE TABLE t (a INT DEFAULT +1)", "match"),
    ("default below zero", "CREATE TABLE t (a INT DEFAULT -1)", "CREATE TABLE t (a INT DEFAULT 1)", "mismatch"),
    ("default 'NULL' is text", "CREATE TABLE t (a TEXT DEFAULT 'NULL')", "CREATE TABLE t (a TEXT)", "mismatch"),
    ("default in another case", "CREATE TABLE t (a TEXT DEFAULT 'x')", "CREATE TABLE t (a TEXT DEFAULT 'X')", "mismatch"),
    ("default CURRENT_TIMESTAMP in another case", "CREATE TABLE t (a TEXT DEFAULT CURRENT_TIMESTAMP)", "CREATE TABLE t (a TEXT DEFAULT current_timestamp)", "match"),
    ("columns in another order", "CREATE TABLE t (a INT, b INT)", "CREATE TABLE t (b INT, a INT)", "mismatch"),
    ("types of one affinity", "CREATE TABLE t (a DECIMAL(9, 2), b BOOLEAN, c DATE)", "CREATE TABLE t (a NUMERIC, b NUMERIC, c NUMERIC)", "match"),
    ("FLOATING POINT is an INT", "CREATE TABLE t (a FLOATING POINT)", "CREATE TABLE t (a REAL)", "mismatch"),
    ("no type is a blob", "CREATE TABLE t (a)", "CREATE TABLE t (a BLOB)", "match"),
    ("a key's columns in another order", "CREATE TABLE t (a INT, b INT, PRIMARY KEY (a, b))", "CREATE TABLE t (a INT, b INT, PRIMARY KEY (b, a))", "mismatch"),
    ("a unique key's columns in another order", "CREATE TABLE t (a INT, b INT, UNIQUE (a, b))", "CREATE TABLE t (a INT, b INT, UNIQUE (b, a))", "match"),
    ("two unique keys are not one", "CREATE TABLE t (a INT, b INT, UNIQUE (a, b))", "CREATE TABLE t (a INT UNIQUE, b INT UNIQUE)", "mismatch"),
    ("a unique index is no unique key", "CREATE TABLE t (a INT UNIQUE)", "CREATE TABLE t (a INT)", "mismatch"),
    ("foreign key, written at the table", "CREATE TABLE t (a INT REFERENCES staff (id))", "CREATE TABLE t (a INT, FOREIGN KEY (A) REFERENCES Staff (ID))", "match"),
    ("foreign key, other action", "CREATE TABLE t (a INT REFERENCES staff (id) ON DELETE CASCADE)", "CREATE TABLE t (a INT REFERENCES staff (id))", "mismatch"),
    ("foreign key, other parent", "CREATE TABLE t (a INT REFERENCES staff (id))", "CREATE TABLE t (a INT REFERENCES item (id))", "mismatch"),
    ("generated column", "CREATE TABLE t (a INT, b INT AS (a * 2))", "CREATE TABLE t (a INT, b INT GENERATED ALWAYS AS (a * 2) VIRTUAL)", "match"),
    ("a generated column is no plain one", "CREATE TABLE t (a INT, b INT AS (a * 2))", "CREATE TABLE t (a INT, b INT)", "mismatch"),
    ("values of a generated column", "INSERT INTO g (a) VALUES (3)", "INSERT INTO g (a) SELECT 3", "match", "CREATE TABLE g (a INT, b INT AS (a * 2))"),
    ("a value for a generated column", "INSERT INTO g (a) VALUES (3)", "INSERT INTO g (a, b) VALUES (3, 6)", "runtime_error", "CREATE TABLE g (a INT, b INT AS (a * 2))"),
    ("STRICT, a wrong type", NOTHING.replace("item", "s").replace("n = 2", "0"), "INSERT INTO s VALUES ('x')", "runtime_error", "CREATE TABLE s (a INT) STRICT"),
    ("WITHOUT ROWID", "INSERT INTO w VALUES ('k', 1)", "INSERT INTO w (v, k) VALUES (1, 'k')", "match", "CREATE TABLE w (k TEXT PRIMARY KEY, v INT) WITHOUT ROWID"),
    ("WITHOUT ROWID has no rowid", "SELECT k FROM w", "SELECT rowid FROM w", "schema_error", "CREATE TABLE w (k TEXT PRIMARY KEY) WITHOUT ROWID"),
    ("ADD COLUMN with CHECK", "ALTER TABLE staff ADD COLUMN z INT CHECK (z > 0)", "ALTER TABLE Staff ADD Z INTEGER CHECK (Z > 0)", "match"),
    ("ADD COLUMN with CHECK that fails", "ALTER TABLE staff ADD COLUMN z INT", "ALTER TABLE staff ADD COLUMN z INT DEFAULT 0 CHECK (z > 0)", "runtime_error"),
    ("ADD COLUMN with CHECK in the schema", "SELECT z FROM s", "SELECT NULL", "match", "CREATE TABLE s (a); INSERT INTO s VALUES (1); ALTER TABLE s ADD COLUMN z INT CHECK (z > 0);"),
    ("ADD COLUMN, NOT NULL", "ALTER TABLE staff ADD COLUMN z INT NOT NULL DEFAULT 0", "ALTER TABLE staff ADD z INTEGER NOT NULL DEFAULT (0)", "match"),
    ("ADD COLUMN, NOT NULL without default", "ALTER TABLE staff ADD COLUMN z INT", "ALTER TABLE staff ADD COLUMN z INT NOT NULL", "runtime_error"),
    ("PRAGMA behind ALTER TABLE", "ALTER TABLE staff ADD COLUMN z INT; DELETE FROM item", "ALTER TABLE staff ADD COLUMN z INT; PRAGMA user_version", "forbidden"),
    ("RENAME TO", "ALTER TABLE staff RENAME TO people", "ALTER TABLE Staff RENAME TO People", "match"),
    ("RENAME COLUMN", "ALTER TABLE staff RENAME COLUMN name TO full_name", "ALTER TABLE staff RENAME name TO Full_Name", "match"),
    ("DROP COLUMN", "ALTER TABLE staff DROP COLUMN pay", "ALTER TABLE staff DROP COLUMN team", "mismatch"),
    ("index, columns in another order", "CREATE INDEX i ON staff (name, team)", "CREATE INDEX i ON staff (team, name)", "mismatch"),
    ("index, descending", "CREATE INDEX i ON staff (name DESC)", "CREATE INDEX i ON staff (name)", "mismatch"),
    ("index, collation", "CREATE INDEX i ON staff (name COLLATE NOCASE)", "CREATE INDEX i ON staff (name)", "mismatch"),
    ("index, other name", "CREATE INDEX i ON staff (name)", "CREATE INDEX j ON staff (name)", "mismatch"),
    ("index, partial", "CREATE INDEX i ON staff (name) WHERE pay > 1", "CREATE INDEX i ON staff (name) WHERE pay>1 -- x", "match"),
    ("index, not partial", "CREATE INDEX i ON staff (name) WHERE pay > 1", "CREATE INDEX i ON staff (name)", "mismatch"),
    ("index on an expression", "CREATE INDEX i ON staff (lower(name))", "CREATE INDEX i ON staff (upper(name))", "mismatch"),
    ("index on our own date function", "CREATE INDEX i ON staff (date(name))", "CREATE INDEX i ON staff (DATE( name ))", "match"),
    ("view with column names", "CREATE VIEW v AS SELECT name AS n FROM staff", "CREATE VIEW v (N) AS SELECT name FROM staff", "match"),
    ("view with other column names", "CREATE VIEW v AS SELECT name AS n FROM staff", "CREATE VIEW v (m) AS SELECT name FROM staff", "mismatch"),
    ("view over a table that is missing", "CREATE VIEW v AS SELECT * FROM nowhere", "CREATE VIEW v AS select *  from NOWHERE -- x", "match"),
    ("views over other missing tables", "CREATE VIEW v AS SELECT * FROM nowhere", "CREATE VIEW v AS SELECT * FROM nowhere2", "mismatch"),
    ("a view over itself", "CREATE VIEW v AS SELECT * FROM v", "CREATE VIEW v AS SELECT * FROM v", "match"),
    ("a view that overflows", "CREATE VIEW v AS SELECT abs(-9223372036854775808) AS x", "CREATE VIEW v AS SELECT abs(-9223372036854775808) AS x", "match"),
    ("a view is no table", "CREATE VIEW v AS SELECT 1 AS a", "CREATE TABLE v AS SELECT 1 AS a", "mismatch"),
    ("trigger FOR EACH ROW", "CREATE TRIGGER g AFTER DELETE ON staff BEGIN DELETE FROM item; END", "CREATE TRIGGER g AFTER DELETE ON staff FOR EACH ROW BEGIN DELETE FROM item; END", "match"),
    ("trigger with WHEN", "CREATE TRIGGER g AFTER DELETE ON staff BEGIN DELETE FROM item; END", "CREATE TRIGGER g AFTER DELETE ON staff WHEN old.id = 1 BEGIN DELETE FROM item; END", "mismatch"),
    ("trigger with CASE ... END", "CREATE TRIGGER g AFTER DELETE ON staff BEGIN UPDATE item SET n = CASE WHEN 1 THEN 2 END; END", "CREATE TRIGGER IF NOT EXISTS g AFTER DELETE ON staff BEGIN UPDATE item SET n = CASE WHEN 1 THEN 2 END; END;", "match"),
    ("temporary trigger", "CREATE TRIGGER g AFTER DELETE ON staff BEGIN DELETE FROM item; END", "CREATE TEMP TRIGGER g AFTER DELETE ON staff BEGIN DELETE FROM item; END", "mismatch"),
    ("what a trigger of the schema does", "DELETE FROM staff WHERE id = 1", "DELETE FROM staff WHERE name = 'Ann'", "match", STAFF + "CREATE TRIGGER g AFTER DELETE ON staff BEGIN UPDATE item SET n = n + 1; END;"),
)  # fmt: skip
WRITES = cases(
    ("UPSERT that does nothing", "INSERT INTO staff (id) VALUES (1) ON CONFLICT DO NOTHING", "INSERT OR IGNORE INTO staff (id) VALUES (1)", "match"),
    ("UPSERT that does nothing is no query", "INSERT INTO staff (id) VALUES (1) ON CONFLICT DO NOTHING", "SELECT 1 WHERE 0", "mismatch"),
    ("a query is no INSERT of nothing", "SELECT name FROM staff WHERE 0", "INSERT INTO item SELECT 'x', 1 WHERE 0", "mismatch"),
    ("UPSERT that updates", "INSERT INTO staff (id, name) VALUES (1, 'Z') ON CONFLICT (id) DO UPDATE SET name = excluded.name", "UPDATE staff SET name = 'Z' WHERE id = 1", "match"),
    ("REPLACE forgets the rest", "INSERT INTO staff (id, name) VALUES (1, 'Z') ON CONFLICT (id) DO UPDATE SET name = excluded.name", "REPLACE INTO staff (id, name) VALUES (1, 'Z')", "mismatch"),
    ("UPDATE FROM", "UPDATE staff SET pay = 5 WHERE id = 2", "UPDATE staff SET pay = i.n + 3 FROM (SELECT 2 AS n) AS i WHERE staff.id = i.n", "match"),
    ("INSERT behind WITH", "INSERT INTO item VALUES ('q', 5)", "WITH x AS (SELECT 5) INSERT INTO item SELECT 'q', * FROM x", "match"),
    ("a CTE that would write", ALL, "WITH x AS (DELETE FROM item RETURNING n) SELECT * FROM x", "syntax_error"),
    ("RETURNING in another order", "UPDATE staff SET pay = 1 RETURNING id", "UPDATE staff SET pay = 1.0 RETURNING id + 0", "match"),
    ("RETURNING other values", "UPDATE staff SET pay = 1 RETURNING id", "UPDATE staff SET pay = 1 RETURNING name", "mismatch"),
    ("RETURNING nothing", "DELETE FROM item WHERE n = 9 RETURNING n", "DELETE FROM item WHERE n = 8 RETURNING n", "match", STAFF, True),
    ("an affinity makes them equal", "INSERT INTO item VALUES ('q', 5)", "INSERT INTO item VALUES ('q', '5')", "match"),
    ("an affinity does not", "INSERT INTO staff (id, pay) VALUES (9, 5)", "INSERT INTO staff (id, pay) VALUES (9, '5x')", "mismatch"),
    ("AUTOINCREMENT", "INSERT INTO t VALUES (NULL)", "INSERT INTO t VALUES (2)", "match", COUNTER),
    ("the counter itself is not compared", "DELETE FROM t WHERE 0", "UPDATE sqlite_sequence SET seq = 7", "match", COUNTER),
    ("REINDEX changes nothing", NOTHING, "REINDEX", "match"),
    ("EXPLAIN of a write does nothing", GONE, "EXPLAIN " + GONE, "mismatch"),
    ("EXPLAIN is not the query", "EXPLAIN SELECT 1", "SELECT 1", "mismatch"),
    ("EXPLAIN QUERY PLAN", "EXPLAIN QUERY PLAN SELECT * FROM item", "EXPLAIN QUERY PLAN SELECT * FROM item", "match"),
    ("temporary table by its schema's name", "CREATE TEMP TABLE zz (a)", "CREATE TABLE temp.zz (a)", "match"),
    ("temporary view over a table", "CREATE VIEW v AS SELECT 1 AS a", "CREATE TEMP VIEW v AS SELECT 1 AS a", "mismatch"),
    ("as many statements, one of them other", GONE + "; DELETE FROM staff", GONE + "; DELETE FROM staff WHERE id < 4", "mismatch"),
    ("one write for two", GONE + "; SELECT 1", GONE, "mismatch"),
    ("two writes for one", GONE, GONE + "; " + GONE, "forbidden"),
    ("three statements for two", "SELECT 1; SELECT 2", "SELECT 1; SELECT 2; SELECT 2", "forbidden"),
    ("the second statement fails", GONE + "; DELETE FROM staff", GONE + "; DELETE FROM people", "schema_error"),
    ("DROP what is referred to", "DROP TABLE a", "DROP TABLE IF EXISTS A", "match", "CREATE TABLE a (x); CREATE VIEW v AS SELECT * FROM a;"),
    ("a trigger that recurses once", "DELETE FROM a", "DELETE FROM a WHERE 1", "match", RECURSING),
    ("a deep chain of triggers", "DELETE FROM t0 WHERE 0", "DELETE FROM t0", "too_large", "".join(f"CREATE TABLE t{i} (a); INSERT INTO t{i} VALUES (1);" for i in range(16)) + "".join(f"CREATE TRIGGER g{i} AFTER DELETE ON t{i} BEGIN DELETE FROM t{i + 1}; END;" for i in range(15))),
)  # fmt: skip
TEXTS = cases(
    ("byte order mark", ALL, "\ufeff" + ALL, "match"),
    ("byte order mark in a fence", ALL, f"```sql\n\ufeff{ALL}\n```", "match"),
    ("no width at either end", ALL, f"\u200b{ALL}\u200b", "match"),
    ("no width inside", ALL, "SELECT na\u200bme FROM staff", "schema_error"),
    ("wide space around", ALL, f"\u3000\u00a0{ALL}\u2028", "match"),
    ("non-breaking space inside", ALL, "SELECT\u00a0name FROM staff", "syntax_error"),
    ("form feed and carriage return", ALL, "SELECT\x0cname\rFROM staff", "match"),
    ("NUL in a comment", ALL, ALL + " -- \0", "syntax_error"),
    ("NUL alone", ALL, "\0", "syntax_error"),
    ("lone surrogate in a comment", ALL, f"-- \ud800\n{ALL}", "syntax_error"),
    ("surrogate and NUL in a think block", ALL, f"<think>\ud800\0</think>{ALL}", "match"),
    ("comments instead of spaces", ALL, "/*a*/SELECT/**/name/*;*/FROM--x\nstaff", "match"),
    ("comment that is not closed", ALL, ALL + " /* and so on", "match"),
    ("comment that is only opened", ALL, ALL + " /*", "syntax_error"),
    ("19,000 characters of comment", ALL, ALL + " /*" + "x" * 19_000 + "*/", "match"),
    ("4,000,001 characters", ALL, "x" * 4_000_001, "too_large"),
    ("brackets and backticks", ALL, "SELECT [name] FROM `staff`", "match"),
    ("schema's name", ALL, 'SELECT "main"."staff"."name" FROM main.staff NOT INDEXED', "match"),
    ("end token", ALL, ALL + "<|im_end|>", "match"),
    ("tags", ALL, f"<answer>{ALL}</answer>", "match"),
    ("bold", ALL, f"**{ALL};**", "match"),
    ("prose that begins with Select", ALL, f"Select all the names:\n\n{ALL};\n\nThat is all.", "match"),
    ("prose that begins with With", ALL, f"With this schema the query is:\n{ALL}", "match"),
    ("explanation without a semicolon", ALL, f"{ALL}\n\n**Explanation**: all names.", "match"),
    ("two fences, the first counts", ALL, f"```sql\nSELECT 1\n```\nor\n```sql\n{ALL}\n```", "mismatch"),
    ("result in a fence of its own first", ALL, f"```\nname\nAnn\n```\n```sql\n{ALL}\n```", "match"),
    ("two statements in a fence", ALL, f"```sql\n{ALL};\n{ALL};\n```", "forbidden"),
    ("a fence in a string", "SELECT '```'", "SELECT '```'", "match"),
    ("a think tag in a string", "SELECT '<think>'", "SELECT '<think>'", "match"),
    ("think block that never ends", ALL, f"<think>\n{ALL}", "empty_prediction"),
    ("two think blocks", ALL, f"<think>a</think><think>{GONE}</think>\n{ALL}", "match"),
    ("prose alone", ALL, "I cannot answer that.", "syntax_error"),
    ("another dialect: TOP", ALL, "SELECT TOP 5 name FROM staff", "syntax_error"),
    ("another dialect: SHOW", ALL, "SHOW TABLES", "syntax_error"),
    ("another dialect: TRUNCATE", "DELETE FROM item", "TRUNCATE TABLE item", "syntax_error"),
    ("another dialect: a function", ALL, "SELECT YEAR(name) FROM staff", "schema_error"),
    ("another dialect: EXTRACT", ALL, "SELECT EXTRACT(YEAR FROM name) FROM staff", "syntax_error"),
    ("another dialect: REGEXP", ALL, ALL + " WHERE name REGEXP 'A'", "schema_error"),
)  # fmt: skip
ERRORS = cases(
    ("a column called like an error of syntax", ALL, "SELECT [syntax error] FROM staff", "schema_error"),
    ("a table called like an error of size", ALL, "SELECT 1 FROM [out of memory]", "schema_error"),
    ("INSERT into a column that is missing", GONE, "INSERT INTO item (nope) VALUES (1)", "schema_error"),
    ("USING a column that is missing", ALL, "SELECT name FROM staff JOIN item USING (name)", "schema_error"),
    ("ambiguous column", ALL, "SELECT id FROM staff a JOIN staff b", "schema_error"),
    ("unknown database", ALL, "SELECT name FROM nodb.staff", "schema_error"),
    ("unknown collation", ALL, ALL + " ORDER BY name COLLATE nope", "schema_error"),
    ("unknown window", ALL, "SELECT sum(1) OVER w FROM staff", "schema_error"),
    ("wrong number of arguments", ALL, "SELECT abs() FROM staff", "schema_error"),
    ("* without a table", ALL, "SELECT *", "schema_error"),
    ("aggregate in WHERE", ALL, ALL + " WHERE count(*) > 1", "runtime_error"),
    ("aggregate in an aggregate", ALL, "SELECT sum(sum(pay)) FROM staff", "runtime_error"),
    ("too few values", GONE, "INSERT INTO item VALUES (1)", "runtime_error"),
    ("compound of other widths", ALL, ALL + " UNION SELECT 1, 2", "runtime_error"),
    ("key of a wrong type", GONE, "INSERT INTO staff (id) VALUES ('x')", "runtime_error"),
    ("LIMIT by a text", ALL, ALL + " LIMIT 'x'", "runtime_error"),
    ("bad JSON", ALL, "SELECT json('{')", "runtime_error"),
    ("integer overflow", ALL, "SELECT abs(-9223372036854775808)", "runtime_error"),
    ("a parameter", ALL, ALL + " WHERE id = ?", "runtime_error"),
    ("a named parameter", ALL, ALL + " WHERE id = :id", "runtime_error"),
    ("a name that is SQLite's own", GONE, "CREATE TABLE sqlite_x (a)", "runtime_error"),
    ("the same column twice", GONE, "CREATE TABLE t (a, A)", "runtime_error"),
)  # fmt: skip
HOSTILE = cases(
    ("catalogue rewritten", GONE, "UPDATE sqlite_master SET sql = 'x'", "runtime_error"),
    ("catalogue filled", GONE, "INSERT INTO sqlite_schema VALUES (1, 2, 3, 4, 5)", "runtime_error"),
    ("PRAGMA writable_schema", GONE, "PRAGMA writable_schema = 1", "forbidden"),
    ("PRAGMA behind EXPLAIN", ALL, "EXPLAIN PRAGMA table_info(staff)", "forbidden"),
    ("ATTACH behind EXPLAIN", ALL, "EXPLAIN ATTACH 'x' AS y", "forbidden"),
    ("ATTACH in memory", ALL, "ATTACH ':memory:' AS x", "forbidden"),
    ("DETACH", ALL, "DETACH main", "forbidden"),
    ("pragma_function_list", ALL, "SELECT name FROM pragma_function_list", "forbidden"),
    ("pragma_database_list", ALL, "SELECT file FROM pragma_database_list()", "forbidden"),
    ("pragma_quick_check", ALL, "SELECT * FROM pragma_quick_check('staff')", "forbidden"),
    ("pragma in a view", GONE, "CREATE VIEW v AS SELECT * FROM pragma_database_list", "mismatch"),
    ("ROLLBACK", GONE, "ROLLBACK", "forbidden"),
    ("RELEASE", GONE, "RELEASE s", "forbidden"),
    ("END", GONE, "END", "forbidden"),
    ("a transaction around", GONE, f"BEGIN; {GONE}; COMMIT;", "forbidden"),
    ("a transaction, as many statements", "SELECT 1; SELECT 2; SELECT 3", f"BEGIN; {GONE}; COMMIT", "forbidden"),
    ("full-text table", GONE, "CREATE VIRTUAL TABLE f USING fts5(a)", "forbidden"),
    ("full-text table of another table", GONE, "CREATE VIRTUAL TABLE f USING fts4(content='staff')", "forbidden"),
    ("R-tree", GONE, "CREATE VIRTUAL TABLE temp.r USING rtree(id, a, b)", "forbidden"),
    ("a file as a table", GONE, "CREATE VIRTUAL TABLE f USING csv(filename='/etc/passwd')", "forbidden"),
    ("a full-text table in the schema", "SELECT 1", "SELECT 1", "schema_invalid", "CREATE VIRTUAL TABLE f USING fts5(a);"),
    ("the tokenizer", ALL, "SELECT fts3_tokenizer('simple')", "forbidden"),
    ("writefile", ALL, "SELECT writefile('x', 'y')", "schema_error"),
    ("an editor", ALL, "SELECT edit('x')", "schema_error"),
    ("load_extension in a trigger", GONE, "```sql\nCREATE TRIGGER g AFTER DELETE ON item BEGIN SELECT load_extension('x'); END\n```", "mismatch"),
    ("load_extension in a view", GONE, "CREATE VIEW v AS SELECT load_extension('x')", "mismatch"),
    ("load_extension as a default", GONE, "CREATE TABLE t (a DEFAULT (load_extension('x')))", "mismatch"),
    ("many calls of random()", ALL, count_to(100_000) + "SELECT count(random()) FROM c", "budget"),
    ("many random bytes", ALL, count_to(1000) + "SELECT sum(length(randomblob(100000))) FROM c", "budget"),
    ("many dates, just allowed", "SELECT 19999", count_to(19_999) + "SELECT count(date(x)) FROM c", "match"),
    ("many dates, one too many", "SELECT 20001", count_to(20_001) + "SELECT count(date(x)) FROM c", "budget"),
    ("steps, a window of a thousand", ALL, count_to(100_000) + "SELECT sum(x) OVER (ORDER BY x ROWS 1000 PRECEDING) FROM c", "budget"),
    ("steps, a correlated query", ALL, count_to(3000) + "SELECT count(*) FROM c WHERE (SELECT count(*) FROM c AS d WHERE d.x < c.x) < 0", "budget"),
    ("steps, doubling tables", ALL, "WITH " + ", ".join(f"a{i} AS (SELECT * FROM {f'a{i - 1} UNION ALL SELECT * FROM a{i - 1}' if i else 'item'})" for i in range(18)) + " SELECT count(*) FROM a17", "too_large"),
    ("rows, one too many", ALL, count_to(10_001) + "SELECT x FROM c", "too_large"),
    ("rows, just allowed", count_to(10_000) + "SELECT x FROM c", count_to(10_000) + "SELECT 10001 - x FROM c", "match"),
    ("rows in a table", GONE, "CREATE TABLE t AS " + count_to(30_000) + "SELECT x FROM c", "too_large"),
    ("a row of 12 MB", ALL, "SELECT " + ", ".join([long(99_000)] * 120), "too_large"),
    ("hex", ALL, "SELECT hex(zeroblob(60000))", "too_large"),
    ("quote", ALL, "SELECT quote(zeroblob(60000))", "too_large"),
    ("replace", ALL, f"SELECT replace({long(90_000)}, 'x', 'yy')", "too_large"),
    ("concatenation", ALL, f"SELECT {long(90_000)} || {long(90_000)}", "too_large"),
    ("json_group_array", ALL, count_to(50_000) + "SELECT json_group_array(x) FROM c", "too_large"),
    ("json nested too deep", ALL, f"SELECT count(*) FROM json_tree('{'[' * 3000}{']' * 3000}')", "runtime_error"),
    ("LIKE of 101 wildcards", ALL, f"SELECT 'a' LIKE '{'%a' * 101}'", "too_large"),
    ("65 tables", ALL, "SELECT 1 FROM " + ", ".join(f"item t{i}" for i in range(65)), "too_large"),
    ("51 SELECTs", ALL, " UNION ALL ".join(["SELECT 1"] * 51), "too_large"),
    ("65 arguments", ALL, "SELECT max(" + ", ".join("1" * 65) + ")", "too_large"),
    ("201 columns of a table", GONE, "CREATE TABLE t (" + ", ".join(f"a{i}" for i in range(201)) + ")", "too_large"),
    ("4,900 NOTs", ALL, "SELECT " + "NOT " * 4900 + "1", "too_large"),
    ("queries in queries", ALL, "SELECT * FROM " + "(SELECT * FROM " * 200 + "item" + ")" * 200, "too_large"),
    ("a sorter of 200 MB", ALL, count_to(4000) + f"SELECT count(*) FROM (SELECT DISTINCT x || {long(50_000)} FROM c)", "too_large"),
    ("reference: a bomb", "SELECT zeroblob(1000000000)", ALL, "reference_error"),
    ("reference: endless rows", count_to(10**9) + "SELECT x FROM c", ALL, "reference_error"),
    ("reference: 20,001 characters", ALL + " --" + "x" * 20_000, ALL, "reference_error"),
    ("reference: a full-text table", "CREATE VIRTUAL TABLE f USING fts5(a)", "SELECT 1", "reference_error"),
    ("reference: PRAGMA", "PRAGMA table_info(staff)", "SELECT 1", "reference_error"),
    ("reference: a parameter", "SELECT ?", "SELECT 1", "reference_error"),
    ("reference: two queries, ties in the second", "SELECT 1; SELECT name FROM staff ORDER BY team", "SELECT 1; SELECT name FROM staff ORDER BY team, name DESC", "match"),
    ("reference: two queries, another order in the second", "SELECT 1; SELECT name FROM staff ORDER BY name", "SELECT 1; SELECT name FROM staff ORDER BY name DESC", "mismatch"),
    ("reference: VACUUM", "VACUUM", "VACUUM", "reference_error"),
    ("reference: a transaction", f"BEGIN; {GONE}; COMMIT", GONE, "reference_error"),
    ("reference: the same random text", "SELECT length(hex(randomblob(4)))", "SELECT 8", "match"),
    ("reference: random choice that falls out alike", "SELECT 1 FROM staff WHERE id = abs(random() % 4) + 1", "SELECT 1", "match"),
    ("reference: a view of random numbers, the same", "CREATE VIEW v AS SELECT 1 WHERE random() IS NULL", "CREATE VIEW v AS SELECT 1 WHERE 0", "match"),
    ("schema: a view with a bomb, not read", ALL, ALL, "match", STAFF + "CREATE VIEW v AS SELECT zeroblob(900000000);"),
    ("schema: a view with a bomb, read", ALL, "SELECT * FROM v", "too_large", STAFF + "CREATE VIEW v AS SELECT zeroblob(900000000);"),
    ("schema: an endless view spoils what writes", GONE, GONE, "reference_error", STAFF + "CREATE VIEW v AS " + count_to(10**9) + "SELECT count(*) FROM c;"),
    ("schema: an endless view, and a query", ALL, ALL, "match", STAFF + "CREATE VIEW v AS " + count_to(10**9) + "SELECT count(*) FROM c;"),
    ("schema: PRAGMA writable_schema", "SELECT 1", "SELECT 1", "schema_invalid", "PRAGMA writable_schema = 1; CREATE TABLE t (a);"),
    ("schema: DETACH", "SELECT 1", "SELECT 1", "schema_invalid", "DETACH main;"),
    ("schema: load_extension", "SELECT 1", "SELECT 1", "schema_invalid", "SELECT load_extension('x');"),
    ("schema: a string that is not closed", "SELECT 1", "SELECT 1", "schema_invalid", "CREATE TABLE t (a DEFAULT 'x);"),
    ("schema: only a comment", "SELECT 1", "SELECT 1", "match", "-- nothing\n/* at all"),
    ("schema: a savepoint left open", "SELECT a FROM t", "SELECT 1", "match", "SAVEPOINT s; CREATE TABLE t (a); INSERT INTO t VALUES (1);"),
    ("schema: rolled back", "SELECT count(*) FROM sqlite_master", "SELECT 0", "match", "BEGIN; CREATE TABLE t (a); ROLLBACK;"),
    ("schema: UTF-16", "SELECT a FROM t", "SELECT 'é'", "match", "PRAGMA encoding = 'UTF-16'; CREATE TABLE t (a); INSERT INTO t VALUES ('é');"),
    ("schema: UTF-16, written to", "INSERT INTO t VALUES ('ü')", "INSERT INTO t SELECT char(252)", "match", "PRAGMA encoding = 'UTF-16'; CREATE TABLE t (a); INSERT INTO t VALUES ('é');"),
    ("schema: ANALYZE", GONE, GONE, "match", STAFF + "CREATE INDEX i ON item (n); ANALYZE;"),
    *(
        (f"schema: {size}, {i}", "SELECT count(*) FROM t", "SELECT 1", "match", schema + f"INSERT INTO t (a0) VALUES ({i});")
        for size, schema in (
            ("30,000 characters", "CREATE TABLE t (a0); --" + "x" * 30_000 + "\n"),
            ("300 columns", "CREATE TABLE t (" + ", ".join(f"a{i}" for i in range(300)) + ");"),
            ("60 SELECTs", "CREATE TABLE t (a0); CREATE TABLE u AS " + " UNION ALL ".join(["SELECT 1"] * 60) + ";"),
        )
        for i in range(4)
    ),
    ("schema: names of every kind", 'SELECT "a""b", [c d], `e``f` FROM "t ""x"', "SELECT 1, 2, 3", "match", 'CREATE TABLE "t ""x" ("a""b", [c d], `e``f`); INSERT INTO "t ""x" VALUES (1, 2, 3);'),
    ("schema: names of every kind, written to", 'DELETE FROM "t ""x"', 'DELETE FROM "T ""X" WHERE 1', "match", 'CREATE TABLE "t ""x" ("a""b", [c d]); CREATE INDEX "i ""y" ON "t ""x" ("a""b"); INSERT INTO "t ""x" VALUES (1, 2);'),
)  # fmt: skip
CASES = [*ORDER, *VALUES, *CLOCK, *TABLES, *WRITES, *TEXTS, *ERRORS, *HOSTILE]


@pytest.fixture(scope="module")
def scorer():
    with Scorer(workers=2) as scorer:
        yield scorer


@pytest.fixture(scope="module")
def batch(scorer, in_one_call) -> list[Verdict]:
    return in_one_call(scorer, CASES, seed=1)


def test_names_of_cases_are_distinct():
    assert len({case.name for case in CASES}) == len(CASES) >= 130


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: CASES[number].name)
def test_verdict(scorer, batch, number):
    case = CASES[number]
    started = time.monotonic()
    verdict = scorer.score(schema=case.schema, reference=case.reference, prediction=case.prediction)
    assert time.monotonic() - started < PATIENCE
    assert (verdict.outcome, verdict.match) == (case.outcome, case.match), verdict.detail
    assert verdict == batch[number]
    assert verdict.score == {None: 0.0, True: 1.0, False: 0.7 * verdict.rouge_l}[case.match]
    assert verdict.robust_match is None and "\n" not in verdict.detail
    assert bool(verdict.detail) != (case.outcome == "match")
    if case.both_empty is not None:
        assert verdict.both_empty == case.both_empty
    assert verdict.match or not verdict.both_empty


def test_all_of_it_once_more_gives_the_same(scorer, batch):
    # Nothing a case did is left in the workers that judge the next one.
    rows = [{"schema": c.schema, "reference": c.reference, "prediction": c.prediction} for c in reversed(CASES)]
    assert scorer.score_batch(rows)[::-1] == batch


def test_generated_databases_change_no_strict_verdict_and_raise_nothing(batch):
    with Scorer(workers=2, databases=2) as robust:
        verdicts = robust.score_batch(
            {"schema": c.schema, "reference": c.reference, "prediction": c.prediction} for c in CASES
        )
    for verdict, strict in zip(verdicts, batch, strict=True):
        same = ("published_match", "published_score", "match", "rouge_l", "outcome", "both_empty")
        assert [getattr(verdict, name) for name in same] == [getattr(strict, name) for name in same]
        assert verdict.robust_match in (
            (None,) if verdict.match is None else (True, False) if verdict.match else (False,)
        )
